Kind = "service-intentions"
Name = "makeline-service"
Sources = [
  { Name = "order-service", Action = "allow" },
  { Name = "pulse-service", Action = "allow" },
  { Name = "*",             Action = "deny" }, # a wildcard comes last
]
