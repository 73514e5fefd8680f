# Begins an approval for the role ci. It may not use force, which could slip in a token of another person or workspace,
# nor grace_period, which could end the old token at once, nor token_ttl, which could make the next one end soon. The
# answer has the url of a page: a role that has a token takes only a token of the same person and workspace. While the
# role has none, whoever opens the url decides whose account it gets.
path "modal/rotate/ci/approval" {
  capabilities = ["update"]
  # wait is for who has approval-waiter.hcl too: Vault joins the two policies, and checks parameters of reads as well.
  allowed_parameters = { "lapse_after" = [], "pinned_workspace" = [], "wait" = [] }
}
