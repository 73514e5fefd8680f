# Starts an approval for the role personal. It does not allow force, which accepts a token of another person or
# workspace. It does not allow grace_period, which can end the old token at once, or token_ttl, which can create a
# token that expires in an hour. Only the answer to the start contains the URL and the code: pass them to the
# person who approves. That approval creates the token, and nobody sees the secret. Give the role its first token
# yourself. The first token may come from any account that opens the URL, within pinned_workspace.
path "modal/rotate/personal/approval" {
  capabilities = ["update"]
  # wait is for a Vault token that also has approval-waiter.hcl. Vault joins the two policies, and also checks the
  # parameters of reads.
  allowed_parameters = { "lapse_after" = [], "pinned_workspace" = [], "wait" = [] }
}
