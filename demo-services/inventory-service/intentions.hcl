Kind = "service-intentions"
Name = "inventory-service"
Sources = [
  { Name = "order-service", Action = "allow" },
  { Name = "*",             Action = "deny" },
]
