Kind = "service-intentions"
Name = "payment-service"
Sources = [
  { Name = "order-service", Action = "allow" },
  { Name = "*",             Action = "deny" },
]
