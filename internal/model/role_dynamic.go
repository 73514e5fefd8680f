// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/duration"
)

// Terms returns how long a lease runs, and until when it can be renewed. A warning names each limit that shortened
// them.
func (p *DynamicPolicy) Terms(most time.Duration) (ttl, longest time.Duration, warnings []string) {
	most = most.Truncate(time.Second) // Modal takes whole seconds
	ttl, longest = p.TTL, p.MaxTTL
	if longest > most {
		longest = most
		warnings = append(warnings, fmt.Sprintf("max_ttl %s is capped to %s, the longest that Vault allows for this mount", duration.Format(p.MaxTTL), duration.Format(most)))
	}
	if ttl > longest {
		warnings = append(warnings, fmt.Sprintf("ttl %s is capped to %s", duration.Format(ttl), duration.Format(longest)))
		ttl = longest
	}
	return ttl, longest, warnings
}

// Defaults and bounds of a dynamic role's fields.
const (
	defaultLeaseTTL    = time.Hour
	defaultMaxLeaseTTL = Day

	MinLeaseTTL = time.Minute
	MaxLeaseTTL = 365 * Day
	MaxLeases   = 100_000
)

// DynamicPolicy holds the fields of a dynamic role: the rights of its service users, and the rules for leases.
type DynamicPolicy struct {
	Access

	// TTL is how long a lease runs before it must be renewed.
	TTL time.Duration `json:"ttl"`
	// MaxTTL is how long a lease can run with renewals.
	MaxTTL time.Duration `json:"max_ttl"`
	// MaxLeases is how many leases may exist at a time. Zero means no limit.
	MaxLeases int `json:"max_leases,omitempty"`
	// NameTemplate makes the middle part of the service users' names. It is empty for the role's name.
	NameTemplate string `json:"service_user_name_template,omitempty"`
}

func (r *Role) mergeDynamic(ask RoleWrite) {
	policy := DynamicPolicy{Access: Access{Scoped: true}, TTL: defaultLeaseTTL, MaxTTL: defaultMaxLeaseTTL}
	if r.Dynamic != nil {
		policy = *r.Dynamic
	}
	policy.merge(ask.Access)
	policy.TTL = ask.Dynamic.TTL.Apply(policy.TTL, defaultLeaseTTL)
	policy.MaxTTL = ask.Dynamic.MaxTTL.Apply(policy.MaxTTL, defaultMaxLeaseTTL)
	policy.MaxLeases = ask.Dynamic.MaxLeases.Apply(policy.MaxLeases, 0)
	policy.NameTemplate = ask.Dynamic.NameTemplate.Apply(policy.NameTemplate, "")
	r.Dynamic = &policy
}

func (p *DynamicPolicy) validate(r *Role) error {
	if err := p.Access.validate(r.Environment); err != nil {
		return err
	}
	if p.TTL > p.MaxTTL {
		return UserErrorf("ttl %s is longer than max_ttl %s: write a shorter ttl, or a longer max_ttl; nothing was changed", duration.Format(p.TTL), duration.Format(p.MaxTTL))
	}
	return nil
}
