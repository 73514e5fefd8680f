# Begins an approval for the role ci. Not with force, which could slip in a token of another person or workspace, nor
# with grace_period, which could end the old one at once. Who may begin can send a person to a page, and no more: that
# person's yes makes the token, and nobody sees its secret.
path "modal/rotate/ci/approval" {
  capabilities = ["update"]
  # wait is for who has approval-waiter.hcl too: Vault joins the two policies, and checks parameters of reads as well.
  allowed_parameters = { "token_ttl" = [], "lapse_after" = [], "wait" = [] }
}
