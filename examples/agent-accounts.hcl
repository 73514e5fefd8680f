# Vault Agent keeps several accounts in one .modal.toml. The role ci is the active profile. MODAL_PROFILE=gpu
# selects the role gpu.
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
  # One role's /toml, which is active, and the /profile of each other role. With two active profiles, some clients
  # fail and others choose one at random.
  contents             = "{{ with secret \"modal/creds/ci/toml\" }}{{ .Data.toml }}{{ end }}{{ with secret \"modal/creds/gpu/profile\" }}{{ .Data.toml }}{{ end }}"
  destination          = "/run/modal/.modal.toml"
  perms                = "0600"
  error_on_missing_key = true
}
