Kind = "service-intentions"
Name = "pulse-service"
Sources = [
  { Name = "*", Action = "deny" },
]
