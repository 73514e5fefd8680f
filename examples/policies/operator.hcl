# Manages roles, rotations and the ledger, without reading a token. It does not write config: who may do that chooses
# the server that the engine shows tokens to. Its delete includes force=true, as Vault checks no parameters there.
path "modal/config" {
  capabilities = ["read"]
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
# With rotate/<role>/approval.
path "modal/rotate/*" {
  capabilities = ["read", "update", "delete"]
}
path "modal/verify/*" {
  capabilities = ["update"]
}
path "modal/revocations" {
  capabilities = ["list"]
}
path "modal/revocations/*" {
  capabilities = ["read", "update", "delete"]
}
path "modal/orphans" {
  capabilities = ["list", "update"]
}
path "modal/status" {
  capabilities = ["read"]
}
