# Reads one form of the role ci, here the environment: for consumers that take every key.
path "modal/creds/ci/env" {
  capabilities = ["read"]
}
