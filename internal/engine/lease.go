// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// leaseMargin is how much longer than its longest lease a token lives at Modal. The expiry ends a token only if
// nobody revoked it.
const leaseMargin = 15 * time.Minute

// Lease is the answer to one read of a dynamic role: a token of its own. Entry is the ID of its revocation. Max is how
// long the lease can be renewed to, from now.
type Lease struct {
	Handout

	Entry    string
	TTL, Max time.Duration
	Expires  time.Time // by the node's own clock
	Warnings []string
}

// NewLease creates a token for one lease of a dynamic role. Vault lets a lease live for most at the longest. The
// revocation queue has the service user before Modal does, and until Modal rejects its token.
func (e *Engine) NewLease(ctx context.Context, name string, most time.Duration) (*Lease, error) {
	if err := e.settleFailed(ctx, name); err != nil {
		return nil, err
	}
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
	creating := e.creations.start()
	defer creating.end()
	made, err := e.mintLease(ctx, cfg, order{name: name, role: r, life: longest + leaseMargin, lease: true, creating: creating})
	if err != nil {
		return nil, fmt.Errorf("%w; no lease was made", err)
	}
	if left := made.expiry().Sub(e.Now()); !made.ExpiresAt.IsZero() && left < longest {
		longest = left
		warnings = append(warnings, fmt.Sprintf("Modal lets the token expire on %s: the lease ends before, whatever max_ttl says", made.ExpiresAt.Format(time.RFC3339)))
	}
	return &Lease{
		Handout: Handout{Name: name, Role: r, Cred: &Credential{Token: made.Token, Version: 1}, ServerURL: cfg.clientServerURL(made.Token), mount: e.mount()},
		Entry:   made.entry.Key(), TTL: min(ttl, longest), Max: longest, Expires: made.expiry(), Warnings: warnings,
	}, nil
}

// terms are how long a lease runs and how long it can be renewed to. The warnings name each cap.
func (p *DynamicPolicy) terms(most time.Duration) (ttl, longest time.Duration, warnings []string) {
	most = most.Truncate(time.Second) // Modal takes whole seconds
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

// mintLease creates the token, and dates its revocation to the end of the longest lease.
func (e *Engine) mintLease(ctx context.Context, cfg *Config, o order) (*candidate, error) {
	made, err := e.mint(ctx, cfg, o)
	if err != nil {
		return nil, err
	}
	leased := made.entry.leased(made.Token, *o.role.access(), e.Now(), o.life)
	if err = e.arrive(context.WithoutCancel(ctx), o, leased); err == nil {
		err = e.stillAllowed(ctx, o)
	}
	if err != nil {
		e.abandon(ctx, made.entry)
		return nil, err
	}
	made.entry = leased
	return made, nil
}

// stillAllowed refuses a lease whose role was narrowed or deleted, or whose role config no longer allows, while the
// read created it. The lease is stored already, and a write stores the role before it lists the leases: so the read
// sees the write, or the write sees the lease.
func (e *Engine) stillAllowed(ctx context.Context, o order) error {
	now, err := e.roles.Get(ctx, o.name)
	if err != nil {
		return err
	}
	if now == nil || now.Dynamic == nil || !o.role.access().within(now.access()) {
		return changedMeanwhile(o.name)
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	return cfg.permits(o.role)
}

// changedMeanwhile refuses a read of a role that was changed while the read was served.
func changedMeanwhile(name string) error {
	return Refusef("role %s was changed or deleted while this read waited: read it again", name)
}

// leased is the revocation of a lease's token, due when no lease can run any more.
func (r Revocation) leased(t Token, rights Access, now time.Time, life time.Duration) *Revocation {
	r.Token, r.Rights, r.Reason, r.Since = t, rights, reasonLease, now
	r.NotBefore = now.Add(life)
	r.NextAttempt = r.NotBefore
	return &r
}

// runs reports whether the entry belongs to a living lease: nobody has begun to end its token.
func (r *Revocation) runs(now time.Time) bool {
	return r.Reason == reasonLease && !r.Begun && !r.Forced && now.Before(r.NotBefore)
}

// EndLease revokes the token of a lease, and succeeds once Modal rejects the token. The worker goes on with a token
// that cannot be revoked now, also after Vault has given up.
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

// mayEndLease refuses while the mount is paused or out of sync, and while Modal does not answer. `vault secrets
// disable` shows the error too.
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

// Renewable refuses to renew a lease whose token is ended or being ended, or may do more than its role or config
// allows now. A lease that kept more than its role allows, because Modal did not answer, is narrowed first.
func (e *Engine) Renewable(ctx context.Context, id string) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	if err = e.narrowToRole(ctx, cfg, id); err != nil {
		return fmt.Errorf("the lease is not renewed, as its token may do more than the role allows now: %w; "+
			"the token works until the lease ends: read %screds/… again for another one", err, e.mount())
	}
	entry, err := e.revocations.Get(ctx, id)
	if err != nil {
		return err
	}
	if entry == nil || !entry.runs(e.Now()) {
		return Refusef("the token of this lease is ended, or being ended: read %screds/… again for another one", e.mountPath())
	}
	if err = cfg.allows(&entry.Rights); err != nil {
		return Refusef("the lease is not renewed, as its token may do more than config allows now: %s; the token works until the lease ends; "+
			"a role that is narrowed narrows its leases: vault write %sroles/%s environment_roles=…", err, e.mount(), entry.Role)
	}
	return nil
}
