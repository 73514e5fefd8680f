# Reads one form of the role ci, here the one with everything: for Vault Agent, Jenkins and Vault Secrets
# Operator's VaultDynamicSecret. Each form is a path of its own that this does not cover.
path "modal/creds/ci" {
  capabilities = ["read"]
}
