# Reads one form of the role ci, here ID and secret: for programs that Vault Agent runs, Jenkins and Vault Secrets
# Operator's VaultDynamicSecret. Each form is a path of its own that this does not cover.
path "modal/creds/ci" {
  capabilities = ["read"]
}
