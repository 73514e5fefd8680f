# Supplies the next token of the static role personal and watches the old one, without reading either. It does not
# allow force or verify, which could bring in a token of another workspace. It does not allow grace_period, which
# could end the old token at once.
path "modal/rotate/personal" {
  capabilities       = ["read", "update"]
  allowed_parameters = { "token_id" = [], "token_secret" = [] }
}
path "modal/revocations" {
  capabilities = ["list"]
}
# Read only: a write could end any role's old token before its grace period is over.
path "modal/revocations/*" {
  capabilities = ["read"]
}
