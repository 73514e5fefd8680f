// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Leases creates and ends the tokens of dynamic roles.
type Leases struct {
	mount  *state.Mount
	queue  *revocation.Queue
	guard  *revocation.Guard
	minter *minter
	rights *rights
}

// leaseMargin is how much longer than its longest lease a token lives at Modal. The expiry ends a token only if
// nobody revoked it.
const leaseMargin = 15 * time.Minute

// Lease is the answer to one read of a dynamic role: a token of its own. Entry is the ID of its revocation. Max is how
// long the lease can be renewed to, from now.
type Lease struct {
	Credentials

	RevocationID string
	TTL, Max     time.Duration
	Expires      time.Time // by the node's own clock
	Warnings     []string
}

// Create creates a token for one lease of a dynamic role. Vault lets a lease live for most at the longest. The
// revocation queue has the service user before Modal does, and until Modal rejects its token.
func (ls *Leases) Create(ctx context.Context, name string, most time.Duration) (*Lease, error) {
	if err := ls.settleFailed(ctx, name); err != nil {
		return nil, err
	}
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	r, err := ls.mount.Roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if r == nil || r.Dynamic == nil {
		return nil, model.UserErrorf("role %s is no dynamic one any more: read it again", name)
	}
	ttl, longest, warnings := r.Dynamic.Terms(most)
	creating := ls.minter.creations.start()
	defer creating.end()
	made, err := ls.mint(ctx, cfg, mintRequest{name: name, role: r, life: longest + leaseMargin, lease: true, creating: creating})
	if err != nil {
		return nil, fmt.Errorf("%w; no lease was made", err)
	}
	if left := made.LocalExpiry().Sub(ls.mount.Now()); !made.ExpiresAt.IsZero() && left < longest {
		longest = left
		warnings = append(warnings, fmt.Sprintf("Modal lets the token expire on %s: the lease ends before, whatever max_ttl says", made.ExpiresAt.Format(time.RFC3339)))
	}
	return &Lease{
		Credentials:  Credentials{Name: name, Role: r, Cred: &model.Credential{Token: made.Token, Version: 1}, ServerURL: cfg.ClientServerURL(made.Token), commandPrefix: ls.mount.CommandPrefix()},
		RevocationID: made.entry.Key(), TTL: min(ttl, longest), Max: longest, Expires: made.LocalExpiry(), Warnings: warnings,
	}, nil
}

// mint creates the token, and dates its revocation to the end of the longest lease.
func (ls *Leases) mint(ctx context.Context, cfg *model.Config, o mintRequest) (*candidate, error) {
	made, err := ls.minter.mint(ctx, cfg, o)
	if err != nil {
		return nil, err
	}
	leased := made.entry.ForLease(made.Token, *o.role.Access(), ls.mount.Now(), o.life)
	if err = ls.minter.storeMinted(context.WithoutCancel(ctx), o, leased); err == nil {
		err = ls.checkStillAllowed(ctx, o)
	}
	if err != nil {
		ls.minter.rollback(ctx, made.entry)
		return nil, err
	}
	made.entry = leased
	return made, nil
}

// checkStillAllowed refuses a lease whose role was narrowed or deleted, or whose role config no longer allows, while the
// read created it. The lease is stored already, and a write stores the role before it lists the leases: so the read
// sees the write, or the write sees the lease.
func (ls *Leases) checkStillAllowed(ctx context.Context, o mintRequest) error {
	now, err := ls.mount.Roles.Get(ctx, o.name)
	if err != nil {
		return err
	}
	if now == nil || now.Dynamic == nil || !o.role.Access().Within(now.Access()) {
		return changedMeanwhile(o.name)
	}
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	return cfg.CheckRole(o.role)
}

// changedMeanwhile refuses a read of a role that was changed while the read was served.
func changedMeanwhile(name string) error {
	return model.UserErrorf("role %s was changed or deleted while this read waited: read it again", name)
}

// End revokes the token of a lease, and succeeds once Modal rejects the token. The worker goes on with a token
// that cannot be revoked now, also after Vault has given up.
func (ls *Leases) End(ctx context.Context, id string) error {
	entry, unlock, err := ls.queue.Lock(ctx, ctx, id)
	if err != nil || entry == nil {
		return err
	}
	defer unlock()
	if ls.mount.Now().Before(entry.NotBefore) {
		entry = entry.DueNow(ls.mount.Now())
		if err = ls.mount.Queue.Put(ctx, entry.Key(), entry); err != nil {
			return err
		}
	}
	if err = ls.checkMayEnd(ctx, entry.Role); err != nil {
		return err
	}
	got, _, err := ls.queue.ProcessLocked(ctx, entry, revocation.OnRequest)
	switch got {
	case revocation.Gone, revocation.Current, revocation.Revoked:
		return err
	case revocation.NotDue, revocation.Accepted, revocation.Unknown, revocation.InUse:
		ls.guard.Forget() // else each try of Vault's would put the worker's off for longer
	}
	stays, unknown := ls.mount.Queue.Get(ctx, id)
	if err == nil && unknown == nil && stays != nil {
		err = &model.UnusableError{Text: fmt.Sprintf("token %s of a lease is not ended yet, and the engine goes on trying whatever becomes of the lease: %s", stays.ID, stays.LastError)}
	}
	return err
}

// checkMayEnd refuses while the mount is paused or out of sync, and while Modal does not answer. `vault secrets
// disable` shows the error too.
func (ls *Leases) checkMayEnd(ctx context.Context, role string) error {
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	if cfg.Paused {
		return &model.UnusableError{Text: fmt.Sprintf("the mount is paused, so the lease's token is not ended; it is once that is over: vault write %sconfig paused=false", ls.mount.CommandPrefix())}
	}
	err = ls.guard.CheckDeletion(ctx)
	if modalapi.KindOf(err) != modalapi.KindNone {
		err = fmt.Errorf("%w; the engine ends the lease's token by itself once Modal answers; a mount can be disabled then, "+
			"or when its leases are forgotten, whose tokens live until they expire: %s", err, ls.mount.Commands().RevokeLeases(role, "-force"))
	}
	return err
}

// CheckRenewable refuses to renew a lease whose token is ended or being ended, or may do more than its role or config
// allows now. A lease that kept more than its role allows, because Modal did not answer, is narrowed first.
func (ls *Leases) CheckRenewable(ctx context.Context, id string) error {
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	if err = ls.narrowToRole(ctx, cfg, id); err != nil {
		return fmt.Errorf("the lease is not renewed, as its token may do more than the role allows now: %w; "+
			"the token works until the lease ends: read %screds/… again for another one", err, ls.mount.CommandPrefix())
	}
	entry, err := ls.mount.Queue.Get(ctx, id)
	if err != nil {
		return err
	}
	if entry == nil || !entry.IsRunningLease(ls.mount.Now()) {
		return model.UserErrorf("the token of this lease is ended, or being ended: read %screds/… again for another one", ls.mount.Path())
	}
	if err = cfg.CheckAccess(&entry.Rights); err != nil {
		return model.UserErrorf("the lease is not renewed, as its token may do more than config allows now: %s; the token works until the lease ends; "+
			"a role that is narrowed narrows its leases: vault write %sroles/%s environment_roles=…", err, ls.mount.CommandPrefix(), entry.Role)
	}
	return nil
}
