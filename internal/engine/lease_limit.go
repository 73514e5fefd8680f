// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// beginEntry puts the entry of a service user that is about to be created. For a dynamic role with max_leases it first
// counts the leases under the role's lock, so that many reads at once stay within the limit. The role may have been
// deleted or narrowed while the read waited for the lock.
func (e *Engine) beginEntry(ctx context.Context, o order, entry *Revocation) error {
	if o.lease {
		o.creating.add(entry.Key()) // before the entry is seen
	}
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
		return changedMeanwhile(o.name)
	}
	if err = e.refuseFull(ctx, o); err != nil {
		return err
	}
	return e.revocations.Put(ctx, entry.Key(), entry)
}

// refuseFull refuses one more lease of a role that has max_leases, and tells what frees a place.
func (e *Engine) refuseFull(ctx context.Context, o order) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	leases, err := e.leasesOf(ctx, o.name)
	if err != nil {
		return err
	}
	places, taken := map[string]int{}, 0
	for _, lease := range leases {
		if place := e.placeOf(cfg, lease); place != "" {
			places[place]++
			taken++
		}
	}
	if taken < o.role.Dynamic.MaxLeases {
		return nil
	}
	var told []string
	for _, place := range slices.Sorted(maps.Keys(places)) {
		told = append(told, fmt.Sprintf("%d %s", places[place], place))
	}
	return Refusef("role %s has %d leases, and max_leases is %d: %s; or raise max_leases; IDs are in: vault list -detailed %srevocations",
		o.name, taken, o.role.Dynamic.MaxLeases, strings.Join(told, ", "), e.mount())
}

// placeOf tells how a lease takes one of the places that max_leases gives, and what frees the place. A service user
// that Modal did not know when it was asked takes none.
func (e *Engine) placeOf(cfg *Config, lease *Revocation) string {
	switch {
	case lease.Reason == reasonUnfinished && !lease.Missing.IsZero():
		return ""
	case e.creations.has(lease.Key()):
		return "being created by other reads (read again in a moment)"
	case cfg.reaches(lease.Token) != nil:
		return fmt.Sprintf("of another workspace or server than config's (forget one with: vault delete %srevocations/<id> force=true)", e.mount())
	case lease.runs(e.Now()):
		return fmt.Sprintf("running (end all with: %s, or one with: vault write %srevocations/<id> force=true)", e.Commands().RevokeLeases(lease.Role), e.mount())
	}
	return fmt.Sprintf("ended and perhaps still at Modal (try one again with: vault write -f %srevocations/<id>)", e.mount())
}

// arrive stores the token that Modal created. An operator may have revoked the entry of a lease meanwhile.
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

// lockLease serialises all changes of one lease's entry. Leases of one role do not wait for each other. A caller that
// holds a role's lock may take a lease's lock, and not the other way round.
func (e *Engine) lockLease(ctx context.Context, id string) (unlock func(), err error) {
	return e.locks.hold(ctx, "lease "+id)
}
