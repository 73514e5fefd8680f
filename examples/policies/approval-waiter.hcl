# Waits for an approval of the role ci that somebody else started, and reads its result. Only the answer to the
# start contains the URL for the person who approves.
path "modal/rotate/ci/approval" {
  capabilities = ["read"]
}
