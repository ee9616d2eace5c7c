# Customers come in through the front door, not through the mesh: no service may call order-service.
Kind = "service-intentions"
Name = "order-service"
Sources = [
  { Name = "*", Action = "deny" },
]
