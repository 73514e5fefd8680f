# Takes leases of the dynamic role job, for a program that makes its own client. Combine it with Vault's default policy,
# which lets a Vault token revoke itself and so end its leases.
path "modal/creds/job" {
  capabilities = ["read"]
}
