// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// How the engine knows that Modal rejects a token for good.
const (
	// proofDeleted: Modal acknowledged the deletion, and rejects the token.
	ProofDeleted = "deleted"
	// proofRejected: Modal rejects the token, and accepts a witness right after.
	ProofRejected = "rejected"
	// proofRejectedTwice: there is no witness, and Modal rejected the token twice, at least an hour apart.
	ProofRejectedTwice = "rejected twice"
)

// SecondRejectionAfter is how much later a second rejection must come where there is no witness.
const SecondRejectionAfter = time.Hour

// Proof is how the engine knows that the token of a completed revocation is revoked.
func (r *Revocation) Proof() string {
	switch {
	case r.Acknowledged:
		return ProofDeleted
	case !r.FirstRejectedAt.IsZero():
		return ProofRejectedTwice
	}
	return ProofRejected
}
