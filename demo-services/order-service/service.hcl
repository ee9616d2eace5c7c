service {
  name = "order-service"
  port = 8080

  check {
    id       = "health"
    http     = "http://127.0.0.1:8080/health"
    interval = "1s"
    timeout  = "1s"
  }

  connect {
    sidecar_service {}
  }
}
