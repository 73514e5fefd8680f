# Counts, for a monitoring system: no names and no secrets.
path "modal/status" {
  capabilities = ["read"]
}
