# Reads one form of the role ci, the token ID and secret. For programs that Vault Agent runs, for Jenkins, and for
# Vault Secrets Operator's VaultDynamicSecret. Each other form is a separate path that this policy does not cover.
path "modal/creds/ci" {
  capabilities = ["read"]
}
