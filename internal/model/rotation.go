// SPDX-License-Identifier: MPL-2.0

package model

import (
	"cmp"
	"slices"
	"time"
)

// RotationTolerance is how late a scheduled rotation may be and be on time: ticks are a minute apart.
const RotationTolerance = 2 * time.Minute

// HasNoToken says that the role has no token yet: nobody has brought, or approved, its first one.
func (r *Rotation) HasNoToken() bool { return r.Cred.ID == "" }

// Rotation is how a role stands: its policy, its current token, and when that should be replaced.
type Rotation struct {
	Name string
	Role *Role
	Cred *Credential
	Next time.Time
	Late time.Duration
	// Refused says that Modal refuses the current token.
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

// SortByUrgency puts the role that needs somebody first first: refused, failing, overdue, then the rest by
// when they are rotated.
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

// NeedsRolesSet reports whether the worker sets the environment roles of the role again. While Modal rejects the
// token, another one is to come first.
func (r *Rotation) NeedsRolesSet() bool { return r.Cred.RolesDiffer && !r.Rejected }
