// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"reflect"
	"time"
)

// Defaults and bounds of a dynamic role's fields.
const (
	defaultLeaseTTL    = time.Hour
	defaultMaxLeaseTTL = Day

	MinLeaseTTL = time.Minute
	MaxLeaseTTL = 365 * Day
	MaxLeases   = 100_000
)

// DynamicPolicy holds a dynamic role's rules for leases: the rights of their tokens, how long they live, and how many
// there may be at a time, 0 for any number.
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

// writeDynamic stores the policy, and then narrows the living leases to it. A read that creates a lease meanwhile
// stores the lease and then reads the policy: the write or the read sees the other one (lease.go: stillAllowed).
func (e *Engine) writeDynamic(ctx context.Context, before, after *Role, ask RoleWrite) (warnings []string, err error) {
	cfg, err := e.permitted(ctx, after)
	if err != nil {
		return nil, err
	}
	if before == nil {
		return nil, e.establishEmpty(ctx, ask.Name, after)
	}
	if !reflect.DeepEqual(before, after) {
		if err = e.roles.Put(ctx, ask.Name, after); err != nil {
			return nil, err
		}
	}
	if len(ask.Access.Given) == 0 {
		return nil, nil
	}
	return e.narrowLeases(ctx, cfg, ask.Name, after.access()), nil
}

// refuseDynamic refuses an operation on a current token, which a dynamic role does not have.
func (e *Engine) refuseDynamic(r *Role, name string) error {
	if r.Dynamic == nil {
		return nil
	}
	return Refusef("role %s is dynamic, so each read of %screds/%s has a token of its own, which ends with its lease: end leases with: %s; nothing was changed",
		name, e.mountPath(), name, e.Commands().RevokeLeases(name))
}

// afterDynamic is the next step after a write of a dynamic role.
func (e *Engine) afterDynamic(name string) string {
	return fmt.Sprintf("get a token with a lease of its own: vault read %screds/%s", e.mount(), name)
}
