# Counts roles and old tokens by state, and reads nothing else.
path "modal/status" {
  capabilities = ["read"]
}
