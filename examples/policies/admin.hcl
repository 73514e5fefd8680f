# Writes config, in addition to the operator policy. Anyone with this policy can read every token, so give it only
# to administrators.
path "modal/config" {
  capabilities = ["create", "read", "update", "delete"]
}
path "modal/config/*" {
  capabilities = ["read", "update", "delete"]
}
