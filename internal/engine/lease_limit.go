// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/model"
)

// storeUnfinished puts the entry of a service user that is about to be created. For a dynamic role with max_leases it first
// counts the leases under the role's lock, so that many reads at once stay within the limit. The role may have been
// deleted or narrowed while the read waited for the lock.
func (mt *minter) storeUnfinished(ctx context.Context, o mintRequest, entry *model.Revocation) error {
	if o.lease {
		o.creating.add(entry.Key()) // before the entry is seen
	}
	if !o.lease || o.role.Dynamic.MaxLeases == 0 {
		return mt.mount.Queue.Put(ctx, entry.Key(), entry)
	}
	unlock, err := mt.mount.LockRole(ctx, o.name)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := mt.mount.Roles.Get(ctx, o.name)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(now, o.role) {
		return changedMeanwhile(o.name)
	}
	if err = mt.checkLimit(ctx, o); err != nil {
		return err
	}
	return mt.mount.Queue.Put(ctx, entry.Key(), entry)
}

// checkLimit refuses one more lease of a role that has max_leases, and tells what frees a place.
func (mt *minter) checkLimit(ctx context.Context, o mintRequest) error {
	cfg, err := mt.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	leases, err := mt.mount.LeasesOf(ctx, o.name)
	if err != nil {
		return err
	}
	places, taken := map[string]int{}, 0
	for _, lease := range leases {
		if place := mt.placeOf(cfg, lease); place != "" {
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
	return model.UserErrorf("role %s has %d leases, and max_leases is %d: %s; or raise max_leases; IDs are in: vault list -detailed %srevocations",
		o.name, taken, o.role.Dynamic.MaxLeases, strings.Join(told, ", "), mt.mount.CommandPrefix())
}

// placeOf tells how a lease takes one of the places that max_leases gives, and what frees the place. A service user
// that Modal did not know when it was asked takes none.
func (mt *minter) placeOf(cfg *model.Config, lease *model.Revocation) string {
	switch {
	case lease.Reason == model.ReasonUnfinished && !lease.FirstNotFoundAt.IsZero():
		return ""
	case mt.creations.has(lease.Key()):
		return "being created by other reads (read again in a moment)"
	case cfg.CheckReach(lease.Token) != nil:
		return fmt.Sprintf("of another workspace or server than config's (forget one with: vault delete %srevocations/<id> force=true)", mt.mount.CommandPrefix())
	case lease.IsRunningLease(mt.mount.Now()):
		return fmt.Sprintf("running (end all with: %s, or one with: vault write %srevocations/<id> force=true)", mt.mount.Commands().RevokeLeases(lease.Role), mt.mount.CommandPrefix())
	}
	return fmt.Sprintf("ended and perhaps still at Modal (try one again with: vault write -f %srevocations/<id>)", mt.mount.CommandPrefix())
}

// storeMinted stores the token that Modal created. An operator may have revoked the entry of a lease meanwhile.
func (mt *minter) storeMinted(ctx context.Context, o mintRequest, arrived *model.Revocation) error {
	if !o.lease {
		return mt.mount.Queue.Put(ctx, arrived.Key(), arrived)
	}
	unlock, err := mt.mount.LockLease(ctx, arrived.Key())
	if err != nil {
		return err
	}
	defer unlock()
	pending, err := mt.mount.Queue.Get(ctx, arrived.Key())
	if err != nil {
		return err
	}
	if pending == nil || pending.Forced || pending.DeletionStarted {
		return model.UserErrorf("service user %s was ended by an operator before its lease began: read again", arrived.Identity)
	}
	return mt.mount.Queue.Put(ctx, arrived.Key(), arrived)
}
