# Reads the parts of a .modal.toml with two accounts: the role ci, which is active, and the role gpu.
path "modal/creds/ci/toml" {
  capabilities = ["read"]
}
path "modal/creds/gpu/profile" {
  capabilities = ["read"]
}
