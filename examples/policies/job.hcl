# Takes leases of the dynamic role job, in the forms that CI reads. With Vault's default policy, by which a token may
# revoke itself and so end them.
path "modal/creds/job/env" {
  capabilities = ["read"]
}
path "modal/creds/job/dotenv" {
  capabilities = ["read"]
}
