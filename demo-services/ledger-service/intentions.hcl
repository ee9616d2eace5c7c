# Only payments write the book, and only by the two calls named here.
Kind = "service-intentions"
Name = "ledger-service"
Sources = [
  {
    Name = "payment-service"
    Permissions = [
      {
        Action = "allow"
        HTTP {
          PathExact = "/entries"
          Methods   = ["GET", "POST"]
        }
      },
    ]
  },
  { Name = "*", Action = "deny" },
]
