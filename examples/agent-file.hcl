# Vault Agent keeps the current token of the role ci in /run/modal/.modal.toml.
#
#   VAULT_ADDR=https://vault.example.com:8200 vault agent -config=agent-file.hcl
#
# The program needs MODAL_CONFIG_PATH=/run/modal/.modal.toml, and neither MODAL_TOKEN_ID nor MODAL_TOKEN_SECRET.
# Environment variables have priority over the file, key by key. Modal rejects an ID and a secret of different
# tokens.

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
  # After 5 minutes without an answer Agent stops, and its supervisor starts it again. The file stays.
  exit_on_retry_failure = true
}

template {
  contents             = "{{ with secret \"modal/creds/ci/toml\" }}{{ .Data.toml }}{{ end }}"
  destination          = "/run/modal/.modal.toml" # Agent replaces the file, so mount the folder into containers.
  perms                = "0600"                   # The default is 0644.
  error_on_missing_key = true                     # Otherwise a missing field becomes "<no value>".

  # Running clients read their token only once, so they restart at the first rendering and after each rotation.
  exec {
    command = ["systemctl", "try-restart", "app"]
  }
}
