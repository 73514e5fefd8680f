# Manages roles, rotations and revocations, without reading a token. It does not write config, which chooses the server
# that the engine shows tokens to. Its delete includes force=true, as Vault checks no parameters of deletes.
path "modal/config" {
  capabilities = ["read"]
}
path "modal/roles" {
  capabilities = ["list"]
}
# Delete and create together give a role another account.
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
# Update with force=true also ends the token of a lease that is running.
path "modal/revocations/*" {
  capabilities = ["read", "update", "delete"]
}
path "modal/orphans" {
  capabilities = ["list", "update"]
}
path "modal/lookup" {
  capabilities = ["update"]
}
path "modal/status" {
  capabilities = ["read"]
}
