# Manages roles, rotations and revocations, without reading a token. It does not write config, because config
# chooses the server that receives the tokens. Deleting includes force=true, because Vault does not check the
# parameters of deletes.
path "modal/config" {
  capabilities = ["read"]
}
path "modal/roles" {
  capabilities = ["list"]
}
# Deleting and creating a role again can give the role another account.
path "modal/roles/*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "modal/rotate" {
  capabilities = ["list"]
}
# This includes rotate/<role>/approval.
path "modal/rotate/*" {
  capabilities = ["read", "update", "delete"]
}
path "modal/verify/*" {
  capabilities = ["update"]
}
path "modal/revocations" {
  capabilities = ["list"]
}
# An update with force=true also ends the token of a running lease.
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
