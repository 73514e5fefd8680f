# envconsul runs the program with the token of the role ci in its environment, and restarts the program if the
# token changes.
#
#   VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=… envconsul -config=envconsul.hcl

vault {
  default_lease_duration = "60s" # The time between two reads, and the longest delay after a rotation.
}

secret {
  path      = "modal/creds/ci/env" # All keys become variables, and this path has no other keys.
  no_prefix = true                 # Otherwise the variable is modal_creds_ci_env_MODAL_TOKEN_ID.
}

exec {
  command = "python3 app.py"
}
