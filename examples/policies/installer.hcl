# Installs and upgrades the plugin at modal/, and reads no token. Anyone who can register a plugin and also write into
# the plugin directory runs code beside Vault, so give it only to administrators.
path "sys/config/state/sanitized" {
  capabilities = ["read"]
}
path "sys/plugins/catalog" {
  capabilities = ["read", "sudo"]
}
path "sys/plugins/catalog/secret" {
  capabilities = ["list", "sudo"]
}
path "sys/plugins/catalog/secret/vault-plugin-secrets-modal" {
  capabilities = ["create", "read", "update", "delete", "sudo"]
}
path "sys/mounts" {
  capabilities = ["read"]
}
path "sys/mounts/modal" {
  capabilities = ["create", "read", "update"]
}
path "sys/mounts/modal/tune" {
  capabilities = ["read", "update"]
}
# Newer servers name the type of the plugin in the path, older ones do not.
path "sys/plugins/reload/+/vault-plugin-secrets-modal" {
  capabilities = ["update", "sudo"]
}
path "sys/plugins/reload/backend" {
  capabilities = ["update", "sudo"]
}
