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
	mount   *state.Mount
	revoker *revocation.Revoker
	guard   *revocation.Guard
	minter  *minter
	rights  *rights
}

// A token expires at Modal leaseMargin after the end of its longest possible lease. This expiry matters only for a token
// that the engine could not revoke.
const leaseMargin = 15 * time.Minute

// Lease is the answer to one read of a dynamic role: a token for this lease only. Max is how long the lease can be
// renewed, from now.
type Lease struct {
	Credentials

	// RevocationID is the ID of the lease's revocation.
	RevocationID string
	TTL, Max     time.Duration
	Expires      time.Time // by this node's clock
	Warnings     []string
}

// LeaseRequest is a read of a dynamic role.
type LeaseRequest struct {
	Role string
	// DisplayName is the name that Vault gives the reader's Vault token.
	DisplayName string
	// VaultMax is the longest lease that Vault allows.
	VaultMax time.Duration
}

// Create creates a token for one lease of a dynamic role. The service user is in the revocation queue before Modal
// knows it, and stays there until Modal rejects its token.
func (ls *Leases) Create(ctx context.Context, ask LeaseRequest) (*Lease, error) {
	name := ask.Role
	if err := ls.deleteFailedCreations(ctx, name); err != nil {
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
		return nil, model.UserErrorf("role %s is no longer dynamic: read it again", name)
	}
	ttl, longest, warnings := r.Dynamic.Terms(ask.VaultMax)
	creating := ls.minter.creations.start()
	defer creating.end()
	created, err := ls.mint(ctx, cfg, mintRequest{
		name: name, role: r, life: longest + leaseMargin, lease: true, label: ls.label(r.Dynamic, ask), creating: creating,
	})
	if err != nil {
		return nil, fmt.Errorf("%w; no lease was created", err)
	}
	if left := created.LocalExpiry().Sub(ls.mount.Now()); !created.ExpiresAt.IsZero() && left < longest {
		longest = left
		warnings = append(warnings, fmt.Sprintf("Modal lets the token expire on %s, so the lease ends before max_ttl is over", created.ExpiresAt.Format(time.RFC3339)))
	}
	return &Lease{
		Credentials:  Credentials{Name: name, Role: r, Cred: &model.Credential{Token: created.Token, Version: 1}, ServerURL: cfg.ClientServerURL(created.Token), commands: ls.mount.Commands()},
		RevocationID: created.entry.Key(), TTL: min(ttl, longest), Max: longest, Expires: created.LocalExpiry(), Warnings: warnings,
	}, nil
}

// mint creates the token, and moves the due date of its revocation to the end of the longest lease.
func (ls *Leases) mint(ctx context.Context, cfg *model.Config, ask mintRequest) (*candidate, error) {
	created, err := ls.minter.mint(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	leased := created.entry.ForLease(created.Token, *ask.role.Access(), ls.mount.Now(), ask.life)
	if err = ls.minter.storeMinted(context.WithoutCancel(ctx), ask, leased); err == nil {
		err = ls.checkStillAllowed(ctx, ask)
	}
	if err != nil {
		ls.minter.rollback(ctx, created.entry)
		return nil, err
	}
	created.entry = leased
	return created, nil
}

// checkStillAllowed refuses a lease if the role was narrowed or deleted while the read created the lease, or if
// config no longer allows the role. The lease is stored already, and a write stores the role before it lists the
// leases. So either the read sees the write, or the write sees the lease.
func (ls *Leases) checkStillAllowed(ctx context.Context, ask mintRequest) error {
	current, err := ls.mount.Roles.Get(ctx, ask.name)
	if err != nil {
		return err
	}
	if current == nil || current.Dynamic == nil || !ask.role.Access().Within(current.Access()) {
		return changedMeanwhile(ask.name)
	}
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	return cfg.CheckRole(ask.role)
}

// changedMeanwhile returns the error for a read whose role was changed while the read ran.
func changedMeanwhile(name string) error {
	return model.UserErrorf("role %s was changed or deleted during this read: read it again", name)
}

// End revokes the token of a lease, and succeeds once Modal rejects the token. If the token cannot be revoked now,
// the worker keeps trying, also after Vault has given up.
func (ls *Leases) End(ctx context.Context, id string) error {
	entry, unlock, err := ls.revoker.Lock(ctx, ctx, id)
	if err != nil || entry == nil {
		return err
	}
	defer unlock()
	if ls.mount.Now().Before(entry.NotBefore) {
		entry = entry.DueNow(ls.mount.Now())
		if err = ls.mount.Revocations.Put(ctx, entry.Key(), entry); err != nil {
			return err
		}
	}
	if err = ls.checkMayEnd(ctx, entry.Role); err != nil {
		return err
	}
	outcome, _, err := ls.revoker.ProcessLocked(ctx, entry, revocation.OnRequest)
	switch outcome {
	case revocation.Gone, revocation.Current, revocation.Revoked:
		return err
	case revocation.Postponed, revocation.Accepted, revocation.Unknown, revocation.InUse:
		ls.guard.CompareAgain() // the next try then asks for the list first: if Modal does not answer, it fails there and adds no back-off
	}
	remaining, unknown := ls.mount.Revocations.Get(ctx, id)
	if err == nil && unknown == nil && remaining != nil {
		err = &model.UnusableError{Text: fmt.Sprintf("token %s of a lease is not revoked yet (%s); the engine keeps trying, even if Vault gives up the lease", remaining.ID, remaining.LastError)}
	}
	return err
}

// checkMayEnd returns an error while the mount is paused or out of sync, or while Modal does not answer. `vault
// secrets disable` shows this error too.
func (ls *Leases) checkMayEnd(ctx context.Context, role string) error {
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	if cfg.Paused {
		return &model.UnusableError{Text: "the mount is paused, so the lease's token is not revoked; the engine revokes it after: " + ls.mount.Commands().Unpause()}
	}
	err = ls.guard.CheckDeletion(ctx)
	if modalapi.KindOf(err) != modalapi.KindNone {
		err = fmt.Errorf("%w; the lease's token still works, and the engine revokes it by itself once Modal answers: nothing to do; "+
			"only to disable the mount before that, forget the leases, whose tokens then live until they expire: %s", err, ls.mount.Commands().RevokeLeases(role, "-force"))
	}
	return err
}

// CheckRenewable refuses to renew a lease if its token has ended or is ending, or if the token may do more than its
// role or config now allows. A lease may have kept more rights than its role allows, because Modal did not answer.
// CheckRenewable narrows it first.
func (ls *Leases) CheckRenewable(ctx context.Context, id string) error {
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	if err = ls.narrowToRole(ctx, cfg, id); err != nil {
		return fmt.Errorf("the lease is not renewed, because its token may do more than the role now allows: %w; "+
			"the token works until the lease ends: for a new token read %screds/… again", err, ls.mount.Path())
	}
	entry, err := ls.mount.Revocations.Get(ctx, id)
	if err != nil {
		return err
	}
	if entry == nil || !entry.IsRunningLease(ls.mount.Now()) {
		return model.UserErrorf("the lease is not renewed, because its token has ended or is ending: for a new token read %screds/… again", ls.mount.Path())
	}
	if err = cfg.CheckAccess(&entry.Rights); err != nil {
		return model.UserErrorf("the lease is not renewed, because its token may do more than config now allows: %s; the token works until the lease ends; "+
			"to narrow the role and its leases: %s", err, ls.mount.Commands().Narrow(entry.Role))
	}
	return nil
}
