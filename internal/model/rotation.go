// SPDX-License-Identifier: MPL-2.0

package model

import (
	"cmp"
	"slices"
	"time"
)

// RotationTolerance is how late a scheduled rotation may be before it counts as late. Ticks of the worker are a
// minute apart.
const RotationTolerance = 2 * time.Minute

// HasNoToken reports whether the role has no token yet: its first token was not brought or approved.
func (r *Rotation) HasNoToken() bool { return r.Cred.ID == "" }

// Rotation is the state of a role's rotation.
type Rotation struct {
	// Name is the role's name.
	Name string
	// Role is the role's policy.
	Role *Role
	// Cred is the current token. For a role without a token it is empty, but not nil.
	Cred *Credential
	// Next is when the current token should be replaced.
	Next time.Time
	// Late is how long Next has passed. It is zero within RotationTolerance for a managed role.
	Late time.Duration
	// Rejected says that Modal rejects the current token.
	Rejected bool
}

// NewRotation returns the rotation state of a role.
func NewRotation(name string, r *Role, cred *Credential, now time.Time) *Rotation {
	if cred == nil {
		return &Rotation{Name: name, Role: r, Cred: &Credential{}}
	}
	next := cred.RotateBy(r)
	late := now.Sub(next)
	if late < 0 || (r.Managed != nil && late < RotationTolerance) {
		late = 0
	}
	return &Rotation{Name: name, Role: r, Cred: cred, Next: next, Late: late, Rejected: !cred.RejectedSince.IsZero()}
}

// SortByUrgency sorts the most urgent role first: rejected, failing, overdue, then the rest by the time of the next
// rotation.
func SortByUrgency(rotations []*Rotation) {
	rank := func(r *Rotation) int {
		if at := slices.Index(urgentStates, r.State()); at >= 0 {
			return at
		}
		return len(urgentStates)
	}
	slices.SortStableFunc(rotations, func(x, y *Rotation) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), x.Next.Compare(y.Next))
	})
}

// NeedsRolesSet reports whether the worker should set the environment roles of the role again. While Modal rejects
// the token, the role needs a new token first.
func (r *Rotation) NeedsRolesSet() bool { return r.Cred.RolesDiffer && !r.Rejected }
