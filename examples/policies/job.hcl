# Takes leases of the dynamic role job, in the forms that CI reads. Combine it with Vault's default policy, which
# lets a Vault token revoke itself and so end its leases.
path "modal/creds/job/env" {
  capabilities = ["read"]
}
path "modal/creds/job/dotenv" {
  capabilities = ["read"]
}
