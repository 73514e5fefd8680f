# Brings the static role personal its next token and follows the old one, without reading either. Not with force or
# verify, which could slip in a token of another workspace, nor with grace_period, which could end the old one at once.
path "modal/rotate/personal" {
  capabilities       = ["read", "update"]
  allowed_parameters = { "token_id" = [], "token_secret" = [] }
}
path "modal/revocations" {
  capabilities = ["list"]
}
# Only to read: a write could end any role's old token before its grace period is over.
path "modal/revocations/*" {
  capabilities = ["read"]
}
