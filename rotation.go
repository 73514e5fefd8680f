// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// States of a role's rotation, the most urgent first.
const (
	stateOverdue  = "overdue"
	stateFailing  = "failing"
	stateDue      = "due"
	stateDisabled = "disabled"
)

// tolerance is how late a scheduled rotation may be and be on time: ticks are a minute apart.
const tolerance = 2 * time.Minute

// rotation is how a role stands: its policy, its current token, and when that should be replaced.
type rotation struct {
	name string
	role *role
	cred *credential
	next time.Time
	late time.Duration
}

func newRotation(name string, r *role, cred *credential, now time.Time) *rotation {
	next := cred.rotateBy(r)
	late := now.Sub(next)
	if late < 0 || (r.Managed != nil && late < tolerance) {
		late = 0
	}
	return &rotation{name: name, role: r, cred: cred, next: next, late: late}
}

func (r *rotation) state() string {
	switch {
	case r.late > 0:
		return stateOverdue
	case r.cred.Attempts > 0:
		return stateFailing
	case r.role.Managed != nil && r.role.Managed.Disabled:
		return stateDisabled
	}
	return stateDue
}

// summary is a role in a list.
func (r *rotation) summary() map[string]any {
	data := map[string]any{fieldType: r.role.Type, fieldVersion: int64(r.cred.Version), fieldState: r.state()}
	putTime(data, fieldNextRotation, r.next)
	putText(data, fieldLastError, r.cred.LastError)
	return data
}

// describe is how the role stands, without a secret.
func (r *rotation) describe() map[string]any {
	data := r.cred.describe()
	data[fieldType] = r.role.Type
	data[fieldVersion] = int64(r.cred.Version)
	data[fieldState] = r.state()
	data[fieldRotationPeriod] = int64(r.role.period(r.cred.LastRotation).Seconds())
	data[fieldLate] = int64(r.late.Seconds())
	putTime(data, fieldLastVaultRotation, r.cred.LastRotation)
	putTime(data, fieldNextRotation, r.next)
	if r.cred.Attempts > 0 {
		data[fieldAttempts] = int64(r.cred.Attempts)
		putTime(data, fieldLastAttempt, r.cred.LastAttempt)
		putTime(data, fieldNextAttempt, r.cred.NextAttempt)
		putText(data, fieldLastError, r.cred.LastError)
	}
	return data
}

// rotation is nil for a role that does not exist.
func (b *backend) rotation(ctx context.Context, name string) (*rotation, error) {
	r, cred, err := b.current(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	return newRotation(name, r, cred, b.now()), nil
}

// rotations are all roles that can be read, by name, and the names of the others.
func (b *backend) rotations(ctx context.Context) (all []*rotation, unreadable []string, err error) {
	names, err := b.roles.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, failures := make([]*rotation, len(names)), make([]error, len(names))
	eachOf(names, maxConcurrentReads, func(i int, name string) { all[i], failures[i] = b.rotation(ctx, name) })
	for i, failed := range failures {
		if failed != nil {
			b.log().Error("a role cannot be read", "role", names[i], "error", failed)
			unreadable = append(unreadable, names[i])
		}
	}
	return slices.DeleteFunc(all, func(r *rotation) bool { return r == nil }), unreadable, nil
}

// addUnreadable puts names into a list that is known nothing else of, and says why.
func addUnreadable(resp *logical.Response, what string, names []string) *logical.Response {
	if len(names) == 0 {
		return resp
	}
	keys, _ := resp.Data["keys"].([]string)
	resp.Data["keys"] = append(keys, names...)
	resp.AddWarning(fmt.Sprintf("%d of the %s cannot be read, and are listed without more: a read of %s says why, and Vault's log",
		len(names), what, names[0]))
	return resp
}

// rotationList keeps the order of the rotations. Vault's CLI sorts its tables by name, so the rank by
// urgency, from 1, is told as well where it counts.
func rotationList(rotations []*rotation, ranked bool) *logical.Response {
	names, info := make([]string, 0, len(rotations)), make(map[string]any, len(rotations))
	for i, r := range rotations {
		summary := r.summary()
		if ranked {
			summary[fieldUrgency] = int64(i + 1)
		}
		names = append(names, r.name)
		info[r.name] = summary
	}
	return logical.ListResponseWithInfo(names, info)
}

// byUrgency puts the role that should be rotated first first: overdue, failing, due.
func byUrgency(rotations []*rotation) {
	ranks := []string{stateOverdue, stateFailing, stateDue, stateDisabled}
	slices.SortStableFunc(rotations, func(x, y *rotation) int {
		return cmp.Or(cmp.Compare(slices.Index(ranks, x.state()), slices.Index(ranks, y.state())), x.next.Compare(y.next))
	})
}

// maxInGrace is how many previous tokens of a role an operator's rotations may keep alive.
const maxInGrace = 10

// refuseCrowd refuses an operator's rotation that would leave too many service users alive. The
// schedule is never held up by it.
func (b *backend) refuseCrowd(ctx context.Context, now *rotation, grace time.Duration) error {
	if grace == 0 {
		return nil
	}
	entries, err := b.previousTokens(ctx, now.name)
	if err != nil {
		return err
	}
	alive := 0
	for _, entry := range entries {
		if entry.ours() && entry.inGrace(b.now()) {
			alive++
		}
	}
	if alive < maxInGrace {
		return nil
	}
	return refusef("role %s has %d previous tokens in their grace period, and %d is the most: end some (write revocations/<id> with force=true), wait, "+
		"or rotate with grace_period=0; nothing was changed", now.name, alive, maxInGrace)
}

// replace makes next the current token of a role: the old one enters the ledger, then the Put of the
// credential is the rotation. It is finished whatever becomes of the caller, who holds the role's lock.
func (b *backend) replace(ctx context.Context, now *rotation, next Token, reason string, grace time.Duration) (*turnover, error) {
	cred := now.cred.successor(now.role, next, b.now())
	old := newRevocation(now.name, now.role, now.cred, reason, b.now(), grace)
	err := b.hold(ctx, next.ID, now.name, func() error {
		if failed := b.revocations.Put(ctx, old.key(), old); failed != nil {
			return failed
		}
		return b.credentials.Put(ctx, now.name, cred)
	})
	if err != nil {
		return nil, err
	}
	return &turnover{cred: cred, old: old, grace: grace, warnings: graceWarnings(grace, now.role.RefreshInterval)}, nil
}
