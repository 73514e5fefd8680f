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

// storeUnfinished stores the revocation of a service user that is about to be created. For a dynamic role with
// max_leases it first counts the leases under the role's lock, so that concurrent reads stay within the limit. It
// refuses if the role was changed while the read waited for the lock.
func (mt *minter) storeUnfinished(ctx context.Context, ask mintRequest, entry *model.Revocation) error {
	if ask.lease {
		ask.creating.add(entry.Key()) // before other reads can see the revocation
	}
	if !ask.lease || ask.role.Dynamic.MaxLeases == 0 {
		return mt.mount.Queue.Put(ctx, entry.Key(), entry)
	}
	unlock, err := mt.mount.LockRole(ctx, ask.name)
	if err != nil {
		return err
	}
	defer unlock()
	current, err := mt.mount.Roles.Get(ctx, ask.name)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(current, ask.role) {
		return changedMeanwhile(ask.name)
	}
	if err = mt.checkLimit(ctx, ask); err != nil {
		return err
	}
	return mt.mount.Queue.Put(ctx, entry.Key(), entry)
}

// checkLimit refuses a lease if the role already has max_leases leases, and tells how to end some.
func (mt *minter) checkLimit(ctx context.Context, ask mintRequest) error {
	cfg, err := mt.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	leases, err := mt.mount.LeasesOf(ctx, ask.name)
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
	if taken < ask.role.Dynamic.MaxLeases {
		return nil
	}
	var counts []string
	for _, place := range slices.Sorted(maps.Keys(places)) {
		counts = append(counts, fmt.Sprintf("%d %s", places[place], place))
	}
	return model.UserErrorf("role %s has %d leases, and max_leases is %d: %s; end some of them or raise max_leases; see the IDs with: vault list -detailed %srevocations",
		ask.name, taken, ask.role.Dynamic.MaxLeases, strings.Join(counts, ", "), mt.mount.CommandPrefix())
}

// placeOf returns in what state a lease counts towards max_leases, and how to end that lease. It returns "" for a
// lease that does not count, because Modal did not know its service user.
func (mt *minter) placeOf(cfg *model.Config, lease *model.Revocation) string {
	switch {
	case lease.Reason == model.ReasonUnfinished && !lease.FirstNotFoundAt.IsZero():
		return ""
	case mt.creations.has(lease.Key()):
		return "being created by other reads (wait a moment)"
	case cfg.CheckReach(lease.Token) != nil:
		return fmt.Sprintf("of another workspace or server than config's (to forget a lease: vault delete %srevocations/<id> force=true)", mt.mount.CommandPrefix())
	case lease.IsRunningLease(mt.mount.Now()):
		return fmt.Sprintf("running (to end all: %s; to end a single lease: vault write %srevocations/<id> force=true)", mt.mount.Commands().RevokeLeases(lease.Role), mt.mount.CommandPrefix())
	}
	return fmt.Sprintf("ended, but their service users may still exist at Modal (to try again: vault write -f %srevocations/<id>)", mt.mount.CommandPrefix())
}

// storeMinted stores the token that Modal created. It refuses if an operator has forced the end of the lease
// meanwhile.
func (mt *minter) storeMinted(ctx context.Context, ask mintRequest, minted *model.Revocation) error {
	if !ask.lease {
		return mt.mount.Queue.Put(ctx, minted.Key(), minted)
	}
	unlock, err := mt.mount.LockLease(ctx, minted.Key())
	if err != nil {
		return err
	}
	defer unlock()
	pending, err := mt.mount.Queue.Get(ctx, minted.Key())
	if err != nil {
		return err
	}
	if pending == nil || pending.Forced || pending.DeletionStarted {
		return model.UserErrorf("an operator ended service user %s before its lease began: read again", minted.Identity)
	}
	return mt.mount.Queue.Put(ctx, minted.Key(), minted)
}
