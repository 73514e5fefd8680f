# envconsul runs the program with the token of the role ci in its environment, and restarts it when the token
# changes.
#
#   VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=… envconsul -config=envconsul.hcl

vault {
  default_lease_duration = "60s" # How often it reads, and so how late a rotation is seen.
}

secret {
  path      = "modal/creds/ci/env" # All keys become variables, so the path that has no others.
  no_prefix = true                 # Else the variable is modal_creds_ci_env_MODAL_TOKEN_ID.
}

exec {
  command = "python3 app.py"
}
