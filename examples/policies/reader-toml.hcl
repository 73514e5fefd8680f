# Reads one form of the role ci, here the .modal.toml: for consumers of a file, such as GitLab's.
path "modal/creds/ci/toml" {
  capabilities = ["read"]
}
