# Waits for an approval of the role ci that somebody else began. No read tells the url: only the answer to the write
# that began the approval has it.
path "modal/rotate/ci/approval" {
  capabilities = ["read"]
}
