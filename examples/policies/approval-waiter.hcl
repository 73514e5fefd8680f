# Waits for an approval of the role ci that somebody else began. The url is for the person who approves: only who is
# signed in to Modal there can use it.
path "modal/rotate/ci/approval" {
  capabilities = ["read"]
}
