// SPDX-License-Identifier: MPL-2.0

// Package revocation ends tokens that no role returns any more, and proves that they are dead:
//   - process.go takes one entry of the queue through an attempt and stores the result.
//   - service_user.go and member_token.go delete the token at Modal.
//   - proof.go decides whether a rejection by Modal proves the deletion.
//   - guard.go stops deletions while storage and Modal differ, as after a restored snapshot.
//   - orphans.go lists and deletes service users of this mount that storage does not know.
package revocation
