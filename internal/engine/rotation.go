// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// tolerance is how late a scheduled rotation may be and be on time: ticks are a minute apart.
const tolerance = 2 * time.Minute

// empty says that the role has no token yet: nobody has brought, or approved, its first one.
func (r *Rotation) empty() bool { return r.Cred.ID == "" }

// Rotation is how a role stands: its policy, its current token, and when that should be replaced.
type Rotation struct {
	Name string
	Role *Role
	Cred *Credential
	Next time.Time
	Late time.Duration
	// Refused says that Modal refuses the current token.
	Refused bool
}

func newRotation(name string, r *Role, cred *Credential, now time.Time) *Rotation {
	if cred == nil {
		return &Rotation{Name: name, Role: r, Cred: &Credential{}}
	}
	next := cred.rotateBy(r)
	late := now.Sub(next)
	if late < 0 || (r.Managed != nil && late < tolerance) {
		late = 0
	}
	return &Rotation{Name: name, Role: r, Cred: cred, Next: next, Late: late, Refused: !cred.Refused.IsZero()}
}

// Rotation is how a role stands and its previous tokens; nil for a role that does not exist.
func (e *Engine) Rotation(ctx context.Context, name string) (*Rotation, []*Revocation, error) {
	r, err := e.rotation(ctx, name)
	if err != nil || r == nil {
		return nil, nil, err
	}
	previous, err := e.previousTokens(ctx, name)
	return r, previous, err
}

// rotation is nil for a role that does not exist.
func (e *Engine) rotation(ctx context.Context, name string) (*Rotation, error) {
	r, err := e.roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	return e.standing(ctx, name, r)
}

// Rotations are all roles that can be read, by name, and the names of the others.
func (e *Engine) Rotations(ctx context.Context) (all []*Rotation, unreadable []string, err error) {
	names, err := e.roles.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, failures := make([]*Rotation, len(names)), make([]error, len(names))
	eachOf(names, maxConcurrentReads, func(i int, name string) { all[i], failures[i] = e.rotation(ctx, name) })
	for i, failed := range failures {
		if failed != nil {
			e.log().Error("a role cannot be read", "role", names[i], "error", failed)
			unreadable = append(unreadable, names[i])
		}
	}
	return slices.DeleteFunc(all, func(r *Rotation) bool { return r == nil }), unreadable, nil
}

// ByUrgency puts the role that needs somebody first first: refused, failing, overdue, then the rest by
// when they are rotated.
func ByUrgency(rotations []*Rotation) {
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

// refuseCrowd refuses an operator's rotation that would leave too many service users alive. An undo puts
// one in the ledger and takes one out, and a repeated request none. The schedule is never held up by it.
func (e *Engine) refuseCrowd(ctx context.Context, now *Rotation, ask RotateRequest) error {
	again := ask.Pair != nil && ask.Pair.ID == now.Cred.ID
	if again || ask.ToPrevious || ask.graceOr(now.Role.GracePeriod) == 0 {
		return nil
	}
	entries, err := e.previousTokens(ctx, now.Name)
	if err != nil {
		return err
	}
	alive := 0
	for _, entry := range entries {
		if entry.ours() && entry.inGrace(e.Now()) {
			alive++
		}
	}
	if alive < maxPreviousTokens {
		return nil
	}
	return Refusef("role %s has %d previous tokens in their grace period, and %d is the most: end some (vault write %srevocations/<id> force=true), wait, "+
		"or rotate with grace_period=0; nothing was changed", now.Name, alive, maxPreviousTokens, e.mount())
}

// replace makes next the current token of a role: the old one enters the ledger, then the Put of the
// credential is the rotation. It is finished whatever becomes of the caller, who holds the role's lock.
func (e *Engine) replace(ctx context.Context, now *Rotation, next Token, reason string, grace time.Duration) (*Turnover, error) {
	if now.empty() {
		return e.receiveFirst(ctx, now, next)
	}
	cred := now.Cred.successor(now.Role, next, e.Now())
	old := newRevocation(now.Name, now.Role, now.Cred, reason, e.Now(), grace)
	err := e.hold(ctx, next, now.Name, func() error {
		if failed := e.revocations.Put(ctx, old.Key(), old); failed != nil {
			return failed
		}
		return e.credentials.Put(ctx, now.Name, cred)
	})
	if err != nil {
		return nil, err
	}
	warnings := slices.Concat(e.shortLife(now.Name, now.Role, next), graceWarnings(grace, now.Role.RefreshInterval))
	return &Turnover{Changed: true, Cred: cred, Old: old, Grace: grace, Warnings: warnings}, nil
}

// receiveFirst gives a role that has none its first token.
func (e *Engine) receiveFirst(ctx context.Context, now *Rotation, first Token) (*Turnover, error) {
	cred := newCredential(now.Role, first, e.Now())
	if err := e.hold(ctx, first, now.Name, func() error { return e.credentials.Put(ctx, now.Name, cred) }); err != nil {
		return nil, err
	}
	return &Turnover{Changed: true, Cred: cred, Warnings: e.shortLife(now.Name, now.Role, first)}, nil
}
