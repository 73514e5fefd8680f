# Reads what a .modal.toml with two accounts is made of: the role ci, which is the active one, and the role gpu.
path "modal/creds/ci/toml" {
  capabilities = ["read"]
}
path "modal/creds/gpu/profile" {
  capabilities = ["read"]
}
