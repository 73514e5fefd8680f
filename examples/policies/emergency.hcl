# Runs the commands of docs/how-to/emergencies.md that Vault's own paths or config need, in addition to the operator
# policy. It reads no token.
# Replaces the admin token, through a browser or by a token that somebody brings. Without force, the new token must
# belong to the same workspace.
path "modal/config/approval" {
  capabilities       = ["read", "update", "delete"]
  allowed_parameters = { "lapse_after" = [], "grace_period" = [], "wait" = [] }
}
path "modal/config/rotate" {
  capabilities       = ["update"]
  allowed_parameters = { "token_id" = [], "token_secret" = [], "grace_period" = [] }
}
# Ends all leases of a role, or of all roles.
path "sys/leases/revoke-prefix/modal/creds" {
  capabilities = ["update", "sudo"]
}
path "sys/leases/revoke-prefix/modal/creds/*" {
  capabilities = ["update", "sudo"]
}
# Finds who read a token: the audit devices, and the hash that they write in place of an ID.
path "sys/audit" {
  capabilities = ["read", "sudo"]
}
path "sys/audit-hash/*" {
  capabilities = ["update"]
}
