// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"
)

// previous is the newest token of a role that is still in its grace period and that nobody has begun to
// end.
func (e *Engine) previous(ctx context.Context, now *Rotation) (*Revocation, error) {
	entries, err := e.previousTokens(ctx, now.Name)
	if err != nil {
		return nil, err
	}
	var newest *Revocation
	for _, entry := range entries {
		usable := entry.inGrace(e.Now()) && entry.Lineage == now.Cred.Lineage && !entry.isOf(now.Cred) && entry.mayReturn()
		if usable && (newest == nil || entry.Version > newest.Version) {
			newest = entry
		}
	}
	if newest == nil {
		return nil, Refusef("role %s has no previous token within its grace period to go back to: rotate it to a new one with: %s; nothing was changed", now.Name, e.rotateCommand(now.Role, now.Name))
	}
	return newest, nil
}

// undo makes the previous token current again and puts the newer one into the ledger. The caller
// holds the role's lock.
func (e *Engine) undo(ctx context.Context, now *Rotation, grace time.Duration) (*Turnover, error) {
	entry, err := e.previous(ctx, now)
	if err != nil {
		return nil, err
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	proven, err := e.proveUndo(ctx, cfg, now, entry)
	if err != nil {
		return nil, err
	}
	var warnings []string
	if now.Role.Managed != nil {
		if warnings, err = e.grantPresent(ctx, cfg, now, proven); err != nil {
			return nil, e.mendGone(fmt.Errorf("%w; the current token (version %d) stays", err, now.Cred.Version), now.Name)
		}
	}
	if len(warnings) > 0 { // then the worker sets the roles again
		cred := *now.Cred
		cred.Drifted = true
		now = newRotation(now.Name, now.Role, &cred, e.Now())
	}
	done, err := e.replace(context.WithoutCancel(ctx), now, proven, reasonUndone, grace)
	if err != nil {
		return nil, err
	}
	done.Warnings = append(warnings, done.Warnings...)
	return done, nil
}

// grantPresent gives a previous token the present rights of the role, whatever rights Modal reports.
func (e *Engine) grantPresent(ctx context.Context, cfg *Config, now *Rotation, t Token) (warnings []string, err error) {
	roles := now.Role.Managed.EnvironmentRoles
	change := roleChange{want: exactly(roles), always: allOf(roles), back: atMost(roles)}
	if _, err = e.change(ctx, cfg, t, change); err != nil {
		return nil, err
	}
	for _, user := range e.readBack(ctx, cfg, []changedUser{{token: t, want: change.want}}) {
		warnings = append(warnings, user.notShown())
	}
	return warnings, nil
}

// proveUndo asks Modal whether the previous token is still what it was, and what the role's policy now
// wants of its token.
func (e *Engine) proveUndo(ctx context.Context, cfg *Config, now *Rotation, entry *Revocation) (Token, error) {
	proven, err := e.accept(ctx, cfg, entry.Token, true)
	if err != nil {
		return Token{}, err
	}
	if !proven.sameOwner(entry.Token) {
		return Token{}, Refusef("token %s is now of %s, and was of %s; nothing was changed", entry.ID, proven.owner(), entry.owner())
	}
	if !entry.Verified() && !proven.sameOwner(now.Cred.Token) {
		return Token{}, Refusef("token %s was stored unproven and is of %s, but the role's token is of %s: rotate to it with its token_id, token_secret and force=true; nothing was changed",
			entry.ID, proven.owner(), now.Cred.owner())
	}
	if now.Role.Managed == nil {
		return proven, nil
	}
	if err = e.fitsPolicy(ctx, cfg, now.Name, now.Role, proven); err != nil {
		return Token{}, fmt.Errorf("%w; nothing was changed", err)
	}
	return proven, nil
}

// fitsPolicy refuses a service user that a managed role could not have made now.
func (e *Engine) fitsPolicy(ctx context.Context, cfg *Config, name string, r *Role, t Token) error {
	if err := cfg.permits(r); err != nil {
		return err
	}
	a, user, err := e.ownerOf(ctx, cfg, t)
	if err != nil {
		return e.mendGone(err, name)
	}
	a.release()
	if user.Scoped != r.Managed.Scoped {
		return Refusef("token %s was made with scoped=%t, and the role now says scoped=%t: rotate to a new token instead with: vault write -f %srotate/%s",
			t.ID, user.Scoped, r.Managed.Scoped, e.mount(), name)
	}
	return nil
}
