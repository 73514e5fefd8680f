# Takes leases of the dynamic role deploy, in the forms that CI reads. Combine it with Vault's default policy, which
# lets a Vault token revoke itself and so end its leases.
path "modal/creds/deploy/env" {
  capabilities = ["read"]
}
path "modal/creds/deploy/dotenv" {
  capabilities = ["read"]
}
