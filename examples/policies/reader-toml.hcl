# Reads one form of the role ci, the .modal.toml. For programs that read a file, such as Vault Agent's template and
# GitLab.
path "modal/creds/ci/toml" {
  capabilities = ["read"]
}
