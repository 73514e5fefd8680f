// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/model"
)

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
	return model.UserErrorf("role %s has %d leases, and max_leases is %d: %s; end some of them or raise max_leases; see the IDs with: %s",
		ask.name, taken, ask.role.Dynamic.MaxLeases, strings.Join(counts, ", "), mt.mount.Commands().ListRevocations())
}

// placeOf returns in what state a lease counts towards max_leases, and how to end that lease. It returns "" for a
// lease that does not count, because Modal did not know its service user.
func (mt *minter) placeOf(cfg *model.Config, lease *model.Revocation) string {
	run := mt.mount.Commands()
	switch {
	case lease.Reason == model.ReasonUnfinished && !lease.FirstNotFoundAt.IsZero():
		return ""
	case mt.creations.has(lease.Key()):
		return "being created by other reads (wait a moment)"
	case cfg.CheckReach(lease.Token) != nil:
		return fmt.Sprintf("of another workspace or server than config's (to forget a lease: %s)", run.ForgetRevocation("<id>"))
	case lease.IsRunningLease(mt.mount.Now()):
		return fmt.Sprintf("running (to end all: %s; to end a single lease: %s)", run.RevokeLeases(lease.Role), run.ForceRevocation("<id>"))
	}
	return fmt.Sprintf("ended, but their service users may still exist at Modal (to try again: %s)", run.TryRevocation("<id>"))
}
