# Begins an approval for the role ci. Not with force, which accepts a token of another person or workspace. Not with
# grace_period, which can end the old token at once, nor with token_ttl, which can make a token that expires in an hour.
# The answer to the begin has the URL and the code, and nothing else has them: hand them to the person who approves. The
# person's yes makes the token, and nobody sees its secret. Give the role its first token yourself: the first token may
# be of any account that opens the URL.
path "modal/rotate/ci/approval" {
  capabilities = ["update"]
  # wait is for a token that has approval-waiter.hcl too: Vault joins the two policies, and checks parameters of reads as
  # well.
  allowed_parameters = { "lapse_after" = [], "wait" = [] }
}
