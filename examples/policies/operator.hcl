# Manages everything, without reading a token. Who may write config chooses the server that the engine shows
# tokens to: give this to nobody who may not read every token.
path "modal/config" {
  capabilities = ["create", "read", "update", "delete"]
}
path "modal/roles" {
  capabilities = ["list"]
}
path "modal/roles/*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "modal/rotate" {
  capabilities = ["list"]
}
path "modal/rotate/*" {
  capabilities = ["read", "update"]
}
path "modal/revocations" {
  capabilities = ["list"]
}
path "modal/revocations/*" {
  capabilities = ["read", "update", "delete"]
}
path "modal/status" {
  capabilities = ["read"]
}
