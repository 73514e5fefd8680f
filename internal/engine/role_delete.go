// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
	"vault-plugin-secrets-modal/internal/store"
)

// deletedRole is a role that is being deleted. role and cred are nil if they are not stored or cannot be read.
// unreadable says why something cannot be read.
type deletedRole struct {
	name       string
	role       *model.Role
	cred       *model.Credential
	unreadable error
}

func (d *deletedRole) exists() bool { return d.role != nil || d.cred != nil || d.unreadable != nil }

// owns reports whether a revocation belongs to this role. If the role no longer exists, it owns the revocations of
// all deleted roles of its name. If the role's generation is unknown, the role owns no revocation.
func (d *deletedRole) owns(entry *model.Revocation) bool {
	switch {
	case entry.Role != d.name:
		return false
	case d.role != nil:
		return entry.IsOfGeneration(d.role)
	case d.unreadable == nil:
		return true
	}
	return d.cred != nil && entry.GenerationID == d.cred.GenerationID
}

// Delete puts the current token into the revocation queue before it removes the role. It returns nil if the role did
// not exist. The token keeps the role's grace period, as after a rotation, because readers may not have noticed the
// deletion. With force the engine revokes at once every token that it may revoke, including previous ones. The
// intent is stored before Modal is called, so that the worker finishes what this request does not. Only force deletes
// a role that cannot be read completely.
func (rs *Roles) Delete(ctx context.Context, name string, force bool) (*DeletionReport, error) {
	unlock, err := rs.mount.LockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d, err := rs.toDelete(ctx, name)
	if err != nil || (!d.exists() && !force) {
		return nil, err
	}
	if d.unreadable != nil && !force {
		return nil, model.UserErrorf("role %s was not deleted: %s; or delete it without the unreadable part with: %s, then check whether its service user is left at Modal with: %s",
			name, d.unreadable, rs.mount.Commands().DeleteRole(name), rs.mount.Commands().ListOrphans())
	}
	if force {
		if err = rs.forceEarlier(ctx, d); err != nil {
			return nil, err
		}
	}
	if err = rs.approvals.endWithOwner(ctx, name); err != nil {
		return nil, err
	}
	left, err := rs.remove(ctx, d, force)
	if err != nil {
		return nil, err
	}
	if d.exists() {
		event := model.Event{Kind: model.EventRoleDelete, Modified: true, Role: name}
		if d.cred != nil {
			event.Version, event.TokenID, event.Account = d.cred.Version, d.cred.ID, d.cred.Account()
		}
		rs.mount.Log().Info("role deleted", append([]any{"role", name, "force", force, "token_id", event.TokenID}, event.Account.LogPairs("")...)...)
		rs.mount.Publish(ctx, event)
	}
	rs.mount.PublishManual(ctx, left)
	var revoked []string
	if force {
		revoked = rs.endForced(ctx, d)
	}
	return rs.report(ctx, d, revoked), nil
}

// toDelete reads the stored parts of a role.
func (rs *Roles) toDelete(ctx context.Context, name string) (*deletedRole, error) {
	r, lostRole := rs.mount.Roles.Get(ctx, name)
	cred, lostCred := rs.mount.Credentials.Get(ctx, name)
	for _, err := range []error{lostRole, lostCred} {
		if err != nil && !store.IsUnreadable(err) {
			return nil, err
		}
	}
	return &deletedRole{name: name, role: r, cred: cred, unreadable: cmp.Or(lostCred, lostRole)}, nil
}

// revocation returns the revocation of the current token, or nil without a current token. A credential without its
// role is no current token, because an interrupted create or delete left it. If the role cannot be read, the engine
// revokes only a token whose service user this mount created.
func (d *deletedRole) revocation(now time.Time, force bool) *model.Revocation {
	r := d.role
	if r == nil && d.unreadable != nil {
		r = &model.Role{Type: model.TypeStatic, KeepPrevious: true}
	}
	if r == nil || d.cred == nil {
		return nil
	}
	entry := model.NewRevocation(d.name, r, d.cred, model.ReasonRoleDeleted, now, r.GracePeriod)
	if force && entry.Method == model.MethodAutomatic {
		return entry.WithForce(now)
	}
	return entry
}

// remove puts the current token into the revocation queue, and then removes the role. It returns the new revocation,
// or nil.
func (rs *Roles) remove(ctx context.Context, d *deletedRole, force bool) (*model.Revocation, error) {
	rs.owners.AssignMu.Lock()
	defer rs.owners.AssignMu.Unlock()
	entry := d.revocation(rs.mount.Now(), force)
	if entry != nil {
		switch queued, err := rs.owners.QueueRevocation(ctx, entry); {
		case err != nil:
			return nil, err
		case !queued:
			entry = nil
		}
	}
	if !d.exists() {
		return entry, nil
	}
	if err := rs.mount.Roles.Delete(ctx, d.name); err != nil {
		return nil, err
	}
	return entry, rs.mount.Credentials.Delete(ctx, d.name)
}

// forceEarlier stores for a role's previous tokens that an operator wants them revoked now.
func (rs *Roles) forceEarlier(ctx context.Context, d *deletedRole) error {
	entries, _, err := rs.remainingOf(ctx, d)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Method != model.MethodAutomatic || entry.Forced {
			continue
		}
		if err := rs.force(ctx, entry); err != nil {
			return err
		}
	}
	return nil
}

// force stores that the token of a revocation is to end now. The caller holds the role's lock. For a lease, force
// takes the lease's own lock.
func (rs *Roles) force(ctx context.Context, entry *model.Revocation) error {
	if entry.Leased {
		unlock, err := rs.mount.LockLease(ctx, entry.Key())
		if err != nil {
			return err
		}
		defer unlock()
		if entry, err = rs.mount.Revocations.Get(ctx, entry.Key()); err != nil || entry == nil {
			return err
		}
	}
	return rs.mount.Revocations.Put(ctx, entry.Key(), entry.WithForce(rs.mount.Now()))
}

func (rs *Roles) endOne(ctx context.Context, entry *model.Revocation) (outcome revocation.Outcome, err error) {
	if entry.Leased {
		outcome, _, err = rs.revoker.Process(ctx, ctx, entry.Key(), revocation.ByForce)
		return outcome, err
	}
	outcome, _, err = rs.revoker.ProcessLocked(ctx, entry, revocation.ByForce)
	return outcome, err
}

// endForced revokes the forced tokens of a deleted role, newest first, within the time of one request. It returns the
// tokens that Modal rejects. The worker revokes the rest.
func (rs *Roles) endForced(ctx context.Context, d *deletedRole) (ended []string) {
	entries, _, err := rs.remainingOf(ctx, d)
	if err != nil {
		return nil // the report contains the error
	}
	slices.SortStableFunc(entries, func(x, y *model.Revocation) int { return y.Version - x.Version })
	brief, cancel := context.WithTimeout(ctx, state.ForceBudget)
	defer cancel()
	for _, entry := range entries {
		if !entry.Forced || brief.Err() != nil {
			continue
		}
		outcome, failed := rs.endOne(brief, entry)
		if failed != nil {
			rs.mount.Log().Warn("a token of a deleted role is left to the worker", "role", d.name, "token_id", entry.Key(), "error", failed)
		}
		if outcome == revocation.Revoked {
			ended = append(ended, entry.Key())
		}
	}
	return ended
}
