# Waits for an approval of the role ci that somebody else began, and reads its result. The URL for the person who approves
# is in the answer to the begin alone.
path "modal/rotate/ci/approval" {
  capabilities = ["read"]
}
