// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// Proofs that a token is revoked.
const (
	// ProofDeleted: Modal acknowledged the deletion, and rejects the token.
	ProofDeleted = "deleted"
	// ProofRejected: Modal rejects the token, and accepts a witness right after. If the token's secret never arrived,
	// Modal says instead that it does not know the service user.
	ProofRejected = "rejected"
	// ProofRejectedTwice: there is no witness, and Modal rejected the token twice, at least an hour apart.
	ProofRejectedTwice = "rejected twice"
)

// SecondRejectionAfter is the least time between the two rejections that prove a revocation without a witness.
const SecondRejectionAfter = time.Hour

// Proof returns how the engine knows that the token of a completed revocation is revoked.
func (r *Revocation) Proof() string {
	switch {
	case r.Acknowledged:
		return ProofDeleted
	case !r.FirstRejectedAt.IsZero():
		return ProofRejectedTwice
	}
	return ProofRejected
}
