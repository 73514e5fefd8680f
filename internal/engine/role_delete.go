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

// deletedRole is a role that is being deleted. A part is nil if it is not stored or cannot be read. unreadable says
// why something cannot be read.
type deletedRole struct {
	name       string
	role       *model.Role
	cred       *model.Credential
	unreadable error
}

func (d *deletedRole) exists() bool { return d.role != nil || d.cred != nil || d.unreadable != nil }

// owns reports whether a revocation is of this role. A role that is gone owns those of all deleted roles of its
// name. If it is unknown which generation of the name a role was, it owns none.
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

// Delete puts the current token into the revocation queue before it removes the role. It returns nil if there
// was no such role. The token keeps the role's grace period, as after a rotation,
// because a reader may not have noticed. With force the engine revokes every token that it may revoke, earlier
// ones too, at once. Storage knows that before Modal is asked, so that the worker goes on with what this
// request does not finish. Only force deletes a role of which something cannot be read.
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
		return nil, model.UserErrorf("role %s: %s; or delete the role without it: %s, and look whether its service user is left at Modal: %s",
			name, d.unreadable, rs.mount.Commands().Delete("roles/"+name, "force=true"), rs.mount.Commands().ListDetailed("orphans"))
	}
	if force {
		if err = rs.forceEarlier(ctx, d); err != nil {
			return nil, err
		}
	}
	if err = rs.approvals.endWithOwner(ctx, name); err != nil {
		return nil, err
	}
	if err = rs.remove(ctx, d, force); err != nil {
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

// revocation is the current token's, nil without one. A credential without its role is no current token: an
// interrupted create or delete left it. If the role cannot be read, the engine revokes only a token whose
// service user this mount created.
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

func (rs *Roles) remove(ctx context.Context, d *deletedRole, force bool) error {
	rs.owners.AssignMu.Lock()
	defer rs.owners.AssignMu.Unlock()
	if entry := d.revocation(rs.mount.Now(), force); entry != nil {
		if _, err := rs.owners.Retire(ctx, entry); err != nil {
			return err
		}
	}
	if !d.exists() {
		return nil
	}
	if err := rs.mount.Roles.Delete(ctx, d.name); err != nil {
		return err
	}
	return rs.mount.Credentials.Delete(ctx, d.name)
}

// forceEarlier notes of a role's earlier tokens that an operator wants them ended now.
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

// force notes that an entry's token is to end now. The caller holds the role's lock, and a lease has one
// of its own.
func (rs *Roles) force(ctx context.Context, entry *model.Revocation) error {
	if entry.Leased {
		unlock, err := rs.mount.LockLease(ctx, entry.Key())
		if err != nil {
			return err
		}
		defer unlock()
		if entry, err = rs.mount.Queue.Get(ctx, entry.Key()); err != nil || entry == nil {
			return err
		}
	}
	return rs.mount.Queue.Put(ctx, entry.Key(), entry.WithForce(rs.mount.Now()))
}

func (rs *Roles) endOne(ctx context.Context, entry *model.Revocation) (got revocation.Outcome, err error) {
	if entry.Leased {
		got, _, err = rs.queue.Process(ctx, ctx, entry.Key(), revocation.ByForce)
		return got, err
	}
	got, _, err = rs.queue.ProcessLocked(ctx, entry, revocation.ByForce)
	return got, err
}

// endForced ends a deleted role's tokens that are to end now, the newest first, as far as the time of one
// request goes, and returns those that Modal refuses. The rest is the worker's.
func (rs *Roles) endForced(ctx context.Context, d *deletedRole) (ended []string) {
	entries, _, err := rs.remainingOf(ctx, d)
	if err != nil {
		return nil // what is left says so
	}
	slices.SortStableFunc(entries, func(x, y *model.Revocation) int { return y.Version - x.Version })
	brief, cancel := context.WithTimeout(ctx, state.ForceBudget)
	defer cancel()
	for _, entry := range entries {
		if !entry.Forced || brief.Err() != nil {
			continue
		}
		got, failed := rs.endOne(brief, entry)
		if failed != nil {
			rs.mount.Log().Warn("a token of a deleted role is left to the worker", "role", d.name, "token_id", entry.Key(), "error", failed)
		}
		if got == revocation.Revoked {
			ended = append(ended, entry.Key())
		}
	}
	return ended
}
