// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/store"
)

// forceBudget bounds the calls to Modal of a delete with force before it answers.
const forceBudget = 30 * time.Second

// deletedRole is a role that is being deleted. A part is nil if it is not stored or cannot be read. unreadable says
// why something cannot be read.
type deletedRole struct {
	name       string
	role       *Role
	cred       *Credential
	unreadable error
}

func (d *deletedRole) exists() bool { return d.role != nil || d.cred != nil || d.unreadable != nil }

// owns reports whether a revocation is of this role. A role that is gone owns those of all deleted roles of its
// name. If it is unknown which generation of the name a role was, it owns none.
func (d *deletedRole) owns(entry *Revocation) bool {
	switch {
	case entry.Role != d.name:
		return false
	case d.role != nil:
		return entry.isOfGeneration(d.role)
	case d.unreadable == nil:
		return true
	}
	return d.cred != nil && entry.Lineage == d.cred.Lineage
}

// DeleteRole puts the current token into the revocation queue before it removes the role. It returns nil if there
// was no such role. The token keeps the role's grace period, as after a rotation,
// because a reader may not have noticed. With force the engine revokes every token that it may revoke, earlier
// ones too, at once. Storage knows that before Modal is asked, so that the worker goes on with what this
// request does not finish. Only force deletes a role of which something cannot be read.
func (e *Engine) DeleteRole(ctx context.Context, name string, force bool) (*Deletion, error) {
	unlock, err := e.lockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d, err := e.toDelete(ctx, name)
	if err != nil || (!d.exists() && !force) {
		return nil, err
	}
	if d.unreadable != nil && !force {
		return nil, Refusef("role %s: %s; or delete the role without it: %s, and look whether its service user is left at Modal: %s",
			name, d.unreadable, e.Commands().Delete("roles/"+name, "force=true"), e.Commands().ListDetailed("orphans"))
	}
	if force {
		if err = e.forceEarlier(ctx, d); err != nil {
			return nil, err
		}
	}
	if err = e.endWith(ctx, name); err != nil {
		return nil, err
	}
	if err = e.removeRole(ctx, d, force); err != nil {
		return nil, err
	}
	if d.exists() {
		event := Event{Kind: EventRoleDelete, Modified: true, Role: name}
		if d.cred != nil {
			event.Version, event.TokenID, event.Account = d.cred.Version, d.cred.ID, d.cred.Account()
		}
		e.log().Info("role deleted", append([]any{"role", name, "force", force, "token_id", event.TokenID}, event.Account.logged("")...)...)
		e.event(ctx, event)
	}
	var revoked []string
	if force {
		revoked = e.endForced(ctx, d)
	}
	return e.deletion(ctx, d, revoked), nil
}

// toDelete reads the stored parts of a role.
func (e *Engine) toDelete(ctx context.Context, name string) (*deletedRole, error) {
	r, lostRole := e.roles.Get(ctx, name)
	cred, lostCred := e.credentials.Get(ctx, name)
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
func (d *deletedRole) revocation(now time.Time, force bool) *Revocation {
	r := d.role
	if r == nil && d.unreadable != nil {
		r = &Role{Type: TypeStatic, KeepPrevious: true}
	}
	if r == nil || d.cred == nil {
		return nil
	}
	entry := newRevocation(d.name, r, d.cred, reasonRoleDeleted, now, r.GracePeriod)
	if force && entry.Method == methodAutomatic {
		return entry.forced(now)
	}
	return entry
}

func (e *Engine) removeRole(ctx context.Context, d *deletedRole, force bool) error {
	e.handover.Lock()
	defer e.handover.Unlock()
	if entry := d.revocation(e.Now(), force); entry != nil {
		if _, err := e.retire(ctx, entry); err != nil {
			return err
		}
	}
	if !d.exists() {
		return nil
	}
	if err := e.roles.Delete(ctx, d.name); err != nil {
		return err
	}
	return e.credentials.Delete(ctx, d.name)
}

// forceEarlier notes of a role's earlier tokens that an operator wants them ended now.
func (e *Engine) forceEarlier(ctx context.Context, d *deletedRole) error {
	entries, _, err := e.leftOf(ctx, d)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Method != methodAutomatic || entry.Forced {
			continue
		}
		if err := e.force(ctx, entry); err != nil {
			return err
		}
	}
	return nil
}

// force notes that an entry's token is to end now. The caller holds the role's lock, and a lease has one
// of its own.
func (e *Engine) force(ctx context.Context, entry *Revocation) error {
	if entry.Leased {
		unlock, err := e.lockLease(ctx, entry.Key())
		if err != nil {
			return err
		}
		defer unlock()
		if entry, err = e.revocations.Get(ctx, entry.Key()); err != nil || entry == nil {
			return err
		}
	}
	return e.revocations.Put(ctx, entry.Key(), entry.forced(e.Now()))
}

func (e *Engine) endOne(ctx context.Context, entry *Revocation) (got verdict, err error) {
	if entry.Leased {
		got, _, err = e.attend(ctx, ctx, entry.Key(), byForce)
		return got, err
	}
	got, _, err = e.attendLocked(ctx, entry, byForce)
	return got, err
}

// endForced ends a deleted role's tokens that are to end now, the newest first, as far as the time of one
// request goes, and returns those that Modal refuses. The rest is the worker's.
func (e *Engine) endForced(ctx context.Context, d *deletedRole) (ended []string) {
	entries, _, err := e.leftOf(ctx, d)
	if err != nil {
		return nil // what is left says so
	}
	slices.SortStableFunc(entries, func(x, y *Revocation) int { return y.Version - x.Version })
	brief, cancel := context.WithTimeout(ctx, forceBudget)
	defer cancel()
	for _, entry := range entries {
		if !entry.Forced || brief.Err() != nil {
			continue
		}
		got, failed := e.endOne(brief, entry)
		if failed != nil {
			e.log().Warn("a token of a deleted role is left to the worker", "role", d.name, "token_id", entry.Key(), "error", failed)
		}
		if got == verdictRevoked {
			ended = append(ended, entry.Key())
		}
	}
	return ended
}
