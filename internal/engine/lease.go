// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// leaseMargin is how much longer than its longest lease a token lives at Modal: the lease ends it, and
// its expiry only what nobody ended.
const leaseMargin = 15 * time.Minute

// Lease is what one read of a dynamic role gives: a token of its own. Entry is the ID of its entry in the
// ledger, by which it is ended. Max is how long it can be renewed to, from now.
type Lease struct {
	Handout

	Entry    string
	TTL, Max time.Duration
	Expires  time.Time
	Warnings []string
}

// NewLease mints a token for one lease of a dynamic role, which Vault lets live for most at the longest.
// The ledger has the token before Modal does, and until it is seen refused.
func (e *Engine) NewLease(ctx context.Context, name string, most time.Duration) (*Lease, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	r, err := e.roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if r == nil || r.Dynamic == nil {
		return nil, Refusef("role %s is no dynamic one any more: read it again", name)
	}
	ttl, longest, warnings := r.Dynamic.terms(most)
	made, err := e.mintLease(ctx, cfg, order{name: name, role: r, life: longest + leaseMargin, lease: true})
	if err != nil {
		return nil, fmt.Errorf("%w; no lease was made", err)
	}
	if left := made.ExpiresAt.Sub(e.Now()); !made.ExpiresAt.IsZero() && left < longest {
		longest = left
		warnings = append(warnings, fmt.Sprintf("Modal lets the token expire on %s: the lease ends before, whatever max_ttl says", made.ExpiresAt.Format(time.RFC3339)))
	}
	return &Lease{
		Handout: Handout{Name: name, Role: r, Cred: &Credential{Token: made.Token, Version: 1}, ServerURL: cfg.clientServerURL(made.Token), mount: e.mount()},
		Entry:   made.entry.Key(), TTL: min(ttl, longest), Max: longest, Expires: made.ExpiresAt, Warnings: warnings,
	}, nil
}

// terms are how long a lease runs, and can be renewed to. Every cap is told.
func (p *DynamicPolicy) terms(most time.Duration) (ttl, longest time.Duration, warnings []string) {
	ttl, longest = p.TTL, p.MaxTTL
	if longest > most {
		longest = most
		warnings = append(warnings, fmt.Sprintf("max_ttl %s is capped to %s, the longest that Vault allows for this mount", Human(p.MaxTTL), Human(most)))
	}
	if ttl > longest {
		warnings = append(warnings, fmt.Sprintf("ttl %s is capped to %s", Human(ttl), Human(longest)))
		ttl = longest
	}
	return ttl, longest, warnings
}

// mintLease makes the token and turns its entry into the lease's backstop.
func (e *Engine) mintLease(ctx context.Context, cfg *Config, o order) (*candidate, error) {
	made, err := e.mint(ctx, cfg, o)
	if err != nil {
		return nil, err
	}
	leased := made.entry.leased(made.Token, e.Now(), o.life)
	if err = e.arrive(context.WithoutCancel(ctx), o, leased); err != nil {
		e.abandon(ctx, made.entry)
		return nil, err
	}
	made.entry = leased
	return made, nil
}

// leased is the entry of a finished service user, which dies when no lease can run any more.
func (r Revocation) leased(t Token, now time.Time, life time.Duration) *Revocation {
	r.Token, r.Reason, r.Since = t, reasonLease, now
	r.NotBefore = now.Add(life)
	r.NextAttempt = r.NotBefore
	return &r
}

// EndLease ends the token of a lease, and is done when Modal refuses it, or when nothing is left of it. The
// ledger goes on with what cannot be ended now, also after Vault has given up.
func (e *Engine) EndLease(ctx context.Context, id string) error {
	entry, unlock, err := e.lockEntry(ctx, ctx, id)
	if err != nil || entry == nil {
		return err
	}
	defer unlock()
	if e.Now().Before(entry.NotBefore) {
		entry = entry.dueNow(e.Now())
		if err = e.revocations.Put(ctx, entry.Key(), entry); err != nil {
			return err
		}
	}
	if err = e.mayEndLease(ctx, entry.Role); err != nil {
		return err
	}
	got, _, err := e.attendLocked(ctx, entry, onRequest)
	switch got {
	case verdictGone, verdictCurrent, verdictRevoked:
		return err
	case verdictNotDue, verdictAccepted, verdictUnknown, verdictHeld:
		e.guard.forget() // else each try of Vault's would put the worker's off for longer
	}
	stays, unknown := e.revocations.Get(ctx, id)
	if err == nil && unknown == nil && stays != nil {
		err = &unusableError{text: fmt.Sprintf("token %s of a lease is not ended yet, and the engine goes on trying whatever becomes of the lease: %s", stays.ID, stays.LastError)}
	}
	return err
}

// mayEndLease refuses while the mount does nothing by itself, and while Modal does not answer. That is also what
// `vault secrets disable` says.
func (e *Engine) mayEndLease(ctx context.Context, role string) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	if cfg.Paused {
		return &unusableError{text: fmt.Sprintf("the mount is paused, so the lease's token is not ended; it is once that is over: vault write %sconfig paused=false", e.mount())}
	}
	err = e.fenced(ctx)
	if modalapi.KindOf(err) != modalapi.KindNone {
		err = fmt.Errorf("%w; the engine ends the lease's token by itself once Modal answers; a mount can be disabled then, "+
			"or when its leases are forgotten, whose tokens live until they expire: %s", err, e.Commands().RevokeLeases(role, "-force"))
	}
	return err
}

// Renewable is until when a lease may be renewed, an error for one whose token is ended or being ended.
func (e *Engine) Renewable(ctx context.Context, id string) error {
	entry, err := e.revocations.Get(ctx, id)
	if err != nil {
		return err
	}
	if entry == nil || entry.Begun || entry.Forced || !e.Now().Before(entry.NotBefore) {
		return Refusef("the token of this lease is ended, or being ended: read %screds/… again for another one", e.mountPath())
	}
	return nil
}
