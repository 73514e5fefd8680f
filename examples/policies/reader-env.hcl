# Reads one form of the role ci, the environment. For programs that use every key.
path "modal/creds/ci/env" {
  capabilities = ["read"]
}
