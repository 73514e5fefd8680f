// SPDX-License-Identifier: MPL-2.0

// Package revocation deletes tokens that no role returns any more, and proves that Modal rejects them.
//
//   - process.go makes one attempt to end the token of a revocation, and stores the result.
//   - service_user.go and member_token.go delete the token at Modal.
//   - in_use.go asks Modal whether somebody still uses a token whose grace period is over.
//   - proof.go decides whether a rejection by Modal proves the deletion.
//   - guard.go stops deletions while storage and Modal differ, as after a restored snapshot.
//   - orphans.go lists and deletes service users of this mount that Vault does not track.
//   - next_step.go tells an operator what to do about a revocation.
//
// Tests: test/lifecycle/revocation_*_test.go and internal/engine/*orphans*_test.go.
package revocation
