// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"reflect"
	"time"
)

// Defaults, and bounds of what a dynamic role may say.
const (
	defaultLeaseTTL    = time.Hour
	defaultMaxLeaseTTL = Day

	MinLeaseTTL = time.Minute
	MaxLeaseTTL = 365 * Day
	MaxLeases   = 100_000
)

// DynamicPolicy is what a dynamic role says of its leases: what their tokens may do, how long they live,
// and how many there may be at a time, 0 for any number.
type DynamicPolicy struct {
	Access

	TTL       time.Duration `json:"ttl"`
	MaxTTL    time.Duration `json:"max_ttl"`
	MaxLeases int           `json:"max_leases,omitempty"`
}

// mergeDynamic merges the fields of dynamic roles.
func (r *Role) mergeDynamic(ask RoleWrite) {
	policy := DynamicPolicy{Access: Access{Scoped: true}, TTL: defaultLeaseTTL, MaxTTL: defaultMaxLeaseTTL}
	if r.Dynamic != nil {
		policy = *r.Dynamic
	}
	policy.merge(ask.Access)
	policy.TTL = ask.Dynamic.TTL.Over(policy.TTL, defaultLeaseTTL)
	policy.MaxTTL = ask.Dynamic.MaxTTL.Over(policy.MaxTTL, defaultMaxLeaseTTL)
	policy.MaxLeases = ask.Dynamic.MaxLeases.Over(policy.MaxLeases, 0)
	r.Dynamic = &policy
}

func (p *DynamicPolicy) validate(r *Role) error {
	if err := p.Access.validate(r.Environment); err != nil {
		return err
	}
	if p.TTL > p.MaxTTL {
		return Refusef("ttl %s is longer than max_ttl %s: write a shorter ttl, or a longer max_ttl; nothing was changed", Human(p.TTL), Human(p.MaxTTL))
	}
	return nil
}

// writeDynamic stores the policy alone: every read mints.
func (e *Engine) writeDynamic(ctx context.Context, before, after *Role, ask RoleWrite) error {
	if _, err := e.permitted(ctx, after); err != nil {
		return err
	}
	switch {
	case before == nil:
		return e.establishEmpty(ctx, ask.Name, after)
	case reflect.DeepEqual(before, after):
		return nil
	}
	return e.roles.Put(ctx, ask.Name, after)
}

// refuseDynamic refuses what only roles have that hold a token.
func (e *Engine) refuseDynamic(r *Role, name string) error {
	if r.Dynamic == nil {
		return nil
	}
	return Refusef("role %s is dynamic, so each read of %screds/%s has a token of its own, which ends with its lease: end leases with: %s; nothing was changed",
		name, e.mountPath(), name, e.Commands().RevokeLeases(name))
}

// afterDynamic is what comes after a write of a dynamic role.
func (e *Engine) afterDynamic(name string) string {
	return fmt.Sprintf("get a token with a lease of its own: vault read %screds/%s", e.mount(), name)
}
