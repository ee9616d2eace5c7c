# What the platform team says for every service that says nothing itself.
Kind = "proxy-defaults"
Name = "global"
Config {
  protocol = "http"
}
