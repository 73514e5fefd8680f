# Vault Agent runs the program with the token of the role ci in its environment, and restarts the program if the
# token changes.
#
#   VAULT_ADDR=https://vault.example.com:8200 vault agent -config=agent-supervisor.hcl

auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "/etc/modal-agent/role_id"
      secret_id_file_path                 = "/etc/modal-agent/secret_id"
      remove_secret_id_file_after_reading = false
    }
  }
}

template_config {
  # Without this setting, an Agent that gets no answer for 5 minutes prints the secrets to its own output (Vault
  # 1.21).
  exit_on_retry_failure = true
}

# All templates read one path, so Agent reads it only once. Two paths could mix two tokens. Each template is on one
# line, because a heredoc would end the value with a newline.
env_template "MODAL_TOKEN_ID" {
  contents             = "{{ with secret \"modal/creds/ci\" }}{{ .Data.token_id }}{{ end }}"
  error_on_missing_key = true
}

env_template "MODAL_TOKEN_SECRET" {
  contents             = "{{ with secret \"modal/creds/ci\" }}{{ .Data.token_secret }}{{ end }}"
  error_on_missing_key = true
}

# Leave this out for a role without an environment: the template would fail.
env_template "MODAL_ENVIRONMENT" {
  contents             = "{{ with secret \"modal/creds/ci\" }}{{ .Data.environment }}{{ end }}"
  error_on_missing_key = true
}

exec {
  command                   = ["python3", "app.py"]
  restart_on_secret_changes = "always"
}
