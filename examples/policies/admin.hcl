# Writes config, beside the policy of an operator. Who may do that may read every token: give it to nobody else.
path "modal/config" {
  capabilities = ["create", "read", "update", "delete"]
}
path "modal/config/*" {
  capabilities = ["read", "update", "delete"]
}
