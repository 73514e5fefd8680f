# Reads counts for a monitoring system, without names and secrets.
path "modal/status" {
  capabilities = ["read"]
}
