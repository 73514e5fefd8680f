// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"reflect"
)

// beginEntry puts the entry of a service user that is about to be made. Of a dynamic role with a limit
// the leases are counted first, under the role's lock: those that many reads begin at once count too. The
// role may have been deleted, or narrowed, while that was waited for.
func (e *Engine) beginEntry(ctx context.Context, o order, entry *Revocation) error {
	if !o.lease || o.role.Dynamic.MaxLeases == 0 {
		return e.revocations.Put(ctx, entry.Key(), entry)
	}
	unlock, err := e.lockRole(ctx, o.name)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := e.roles.Get(ctx, o.name)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(now, o.role) {
		return Refusef("role %s was changed or deleted while this read waited: read it again", o.name)
	}
	entries, err := e.entriesOf(ctx, o.name)
	if err != nil {
		return err
	}
	living, most := 0, o.role.Dynamic.MaxLeases
	for _, other := range entries {
		if other.Leased {
			living++
		}
	}
	if living >= most {
		return Refusef("role %s has %d leases, and max_leases is %d: end some (%s), wait for their end, as one that Modal has not ended yet counts, or raise max_leases",
			o.name, living, most, e.Commands().RevokeLeases(o.name))
	}
	return e.revocations.Put(ctx, entry.Key(), entry)
}

// arrive stores what Modal answered. The entry of a lease may have been ended by an operator meanwhile.
func (e *Engine) arrive(ctx context.Context, o order, arrived *Revocation) error {
	if !o.lease {
		return e.revocations.Put(ctx, arrived.Key(), arrived)
	}
	unlock, err := e.lockLease(ctx, arrived.Key())
	if err != nil {
		return err
	}
	defer unlock()
	pending, err := e.revocations.Get(ctx, arrived.Key())
	if err != nil {
		return err
	}
	if pending == nil || pending.Forced || pending.Begun {
		return Refusef("service user %s was ended by an operator before its lease began: read again", arrived.Identity)
	}
	return e.revocations.Put(ctx, arrived.Key(), arrived)
}

// lockLease serialises all that changes the entry of one lease: leases of one role do not wait for each
// other. Who holds a role's lock may take it, and not the other way round.
func (e *Engine) lockLease(ctx context.Context, id string) (unlock func(), err error) {
	return e.locks.hold(ctx, "lease "+id)
}
