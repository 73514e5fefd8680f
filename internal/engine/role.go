// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Roles creates, updates, reads and deletes roles.
type Roles struct {
	mount     *state.Mount
	owners    *state.Owners
	revoker   *revocation.Revoker
	minter    *minter
	rights    *rights
	rotations *Rotations
	leases    *Leases
	approvals *Approvals
}
