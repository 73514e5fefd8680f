# Vault Agent keeps several accounts in one .modal.toml: the role ci is the active profile, the role gpu is
# there for MODAL_PROFILE=gpu.
#
#   VAULT_ADDR=https://vault.example.com:8200 vault agent -config=agent-accounts.hcl

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
  exit_on_retry_failure = true
}

template {
  # One /toml, which is active, and a /profile of each other role. Two active profiles are refused by some
  # clients and chosen from at random by others.
  contents             = "{{ with secret \"modal/creds/ci/toml\" }}{{ .Data.toml }}{{ end }}{{ with secret \"modal/creds/gpu/profile\" }}{{ .Data.toml }}{{ end }}"
  destination          = "/run/modal/.modal.toml"
  perms                = "0600"
  error_on_missing_key = true
}
