# Vault Agent keeps /run/modal/.modal.toml the current token of the role ci.
#
#   VAULT_ADDR=https://vault.example.com:8200 vault agent -config=agent-file.hcl
#
# The program needs MODAL_CONFIG_PATH=/run/modal/.modal.toml, and no MODAL_TOKEN_ID or MODAL_TOKEN_SECRET:
# environment variables win over the file, key by key, and half of an old pair is a pair that Modal refuses.

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
  # After 5 minutes without an answer Agent ends, and whatever runs it starts it again. The file stays.
  exit_on_retry_failure = true
}

template {
  contents             = "{{ with secret \"modal/creds/ci/toml\" }}{{ .Data.toml }}{{ end }}"
  destination          = "/run/modal/.modal.toml" # Replaced, not rewritten: mount the folder into containers.
  perms                = "0600"                   # The default is 0644.
  error_on_missing_key = true                     # Else a missing field is rendered as "<no value>".

  # Running clients read their token once, so they restart: once per rotation, and at the first rendering.
  exec {
    command = ["systemctl", "try-restart", "app"]
  }
}
