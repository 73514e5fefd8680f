# Waits for an approval of the role personal that somebody else started, and reads its result. Only the answer to the
# start contains the URL for the person who approves.
path "modal/rotate/personal/approval" {
  capabilities = ["read"]
}
