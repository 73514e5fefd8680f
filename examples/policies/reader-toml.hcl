# Reads one form of the role ci, here the .modal.toml: for consumers of a file, such as Vault Agent's
# template and GitLab.
path "modal/creds/ci/toml" {
  capabilities = ["read"]
}
