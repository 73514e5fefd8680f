// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
)

// finish uses the token that a person approved, if the token belongs to the expected account. Otherwise the token
// deletes itself at once. After an interruption, finish starts again from the token's revocation.
func (ap *Approvals) finish(ctx context.Context, key string, a *model.Approval) (ended *model.Approval, err error) {
	role := model.ApprovalRole(key)
	if done, failed := ap.doneIfCurrent(ctx, role, a); failed != nil || done != nil {
		return done, failed
	}
	entry, err := ap.mount.Revocations.Get(ctx, a.TokenID)
	switch {
	case err != nil:
		return nil, err
	case entry == nil && a.State == model.ApprovalWaiting:
		return a.Ended(model.ApprovalRefused, fmt.Sprintf("token %s is not current and has left the revocation queue", a.TokenID), ap.mount.Now()), nil
	case entry == nil:
		return a.Ended("", "", ap.mount.Now()), nil
	case entry.Reason != model.ReasonApproved: // an earlier attempt was interrupted after the token became current
		return a.Ended(model.ApprovalDone, fmt.Sprintf("token %s became current, and another token has replaced it since", a.TokenID), ap.mount.Now()), nil
	case a.State != model.ApprovalWaiting:
		return ap.discard(ctx, a, entry)
	}
	a, err = ap.use(ctx, key, a, entry)
	if err == nil {
		return ap.doneIfCurrent(ctx, role, a)
	}
	if model.IsUnanswered(err) || (modalapi.KindOf(err) == modalapi.KindRefused && entry.MayBeNew(ap.mount.Now())) {
		return nil, err
	}
	if modalapi.KindOf(err) == modalapi.KindRefused {
		err = model.UserErrorf("Modal rejected token %s, which was just approved, when the engine asked for its owner: %s", entry.ID, modalapi.Said(err))
	}
	a = a.Closing(model.ApprovalRefused, err.Error())
	if err = ap.mount.Approvals.Put(ctx, key, a); err != nil { // before the token ends, so that no answer says it will be used
		return nil, err
	}
	return ap.discard(ctx, a, entry)
}

// doneIfCurrent returns the approval as done if its token is the role's current token or the admin token, and nil if
// not. It removes the token's revocation first, which would say that the token deletes itself.
func (ap *Approvals) doneIfCurrent(ctx context.Context, role string, a *model.Approval) (*model.Approval, error) {
	version, reason := 0, a.Reason
	if role == "" {
		cfg, err := ap.mount.LoadConfig(ctx)
		if err != nil || cfg.AdminID() != a.TokenID {
			return nil, err
		}
		if limits := cfg.LimitationWarnings(); len(limits) > 0 {
			reason = limits[0]
		}
	} else {
		_, cred, err := ap.mount.Current(ctx, role)
		if err != nil || cred == nil || cred.ID != a.TokenID {
			return nil, err
		}
		version = cred.Version
	}
	if err := ap.owners.RemoveRevocation(ctx, a.TokenID); err != nil {
		return nil, err
	}
	done := a.Ended(model.ApprovalDone, reason, ap.mount.Now())
	done.Version = version
	return done, nil
}

// use asks Modal for the token's owner, stores the owner with the approval, and makes the token the role's current
// token or the admin token.
func (ap *Approvals) use(ctx context.Context, key string, a *model.Approval, entry *model.Revocation) (*model.Approval, error) {
	cfg, err := ap.mount.LoadConfig(ctx)
	if err != nil {
		return a, err
	}
	proven, err := ap.mount.Verify(ctx, cfg, entry.Token)
	if err != nil {
		return a, err
	}
	proven = proven.WithClockOffset(a.Began, entry.Since)
	ap.mount.ClockWarning(model.ApprovalRole(key), proven)
	named := *a
	named.Account = proven.Account()
	if err = ap.workspaces.CheckPinned(ctx, cfg, proven); err == nil {
		err = model.NewPin(a.PinnedWorkspace).Check(proven, "the approval's pinned_workspace")
	}
	switch {
	case err != nil:
		return &named, err
	case model.ApprovalRole(key) == "":
		return &named, ap.useForAdmin(ctx, key, cfg, &named, proven)
	}
	return &named, ap.useForRole(ctx, key, &named, proven)
}

func (ap *Approvals) useForRole(ctx context.Context, key string, a *model.Approval, proven model.Token) error {
	role := model.ApprovalRole(key)
	rotation, err := ap.mount.Rotation(ctx, role)
	switch {
	case err != nil:
		return err
	case rotation == nil || rotation.Role.Type != model.TypeStatic:
		return model.UserErrorf("static role %s no longer exists", role)
	case !rotation.HasNoToken() && !a.Force && (!rotation.Cred.Verified() || !proven.HasSameOwner(rotation.Cred.Token)):
		return model.UserErrorf("token %s belongs to %s, but the role's token belongs to %s: approve with that account, or begin again with force=true to change the owner", proven.ID, proven.DescribeOwner(), rotation.Cred.DescribeOwner())
	}
	a.PreviousTokenID = rotation.Cred.ID
	if err = ap.mount.Approvals.Put(ctx, key, a); err != nil {
		return err
	}
	done, err := ap.rotations.replace(ctx, rotation, proven, model.ReasonRotated, model.RotateRequest{Grace: a.Grace}.GraceOr(rotation.Role.GracePeriod))
	if err != nil {
		return err
	}
	ap.rotations.publish(ctx, role, done)
	return nil
}

func (ap *Approvals) useForAdmin(ctx context.Context, key string, cfg *model.Config, a *model.Approval, proven model.Token) error {
	if !cfg.Serves(proven) {
		return model.UserErrorf("token %s belongs to server %s, but config now points to %s: begin again", proven.ID, proven.ServerURL, cfg.ServerURL)
	}
	limitation, err := ap.mount.AdminLimitation(ctx, cfg, proven)
	if err != nil {
		return err
	}
	last, err := ap.workspaces.Last(ctx, cfg)
	if err != nil {
		return err
	}
	if last.ID == "" && cfg.PinnedWorkspace == "" && a.PinnedWorkspace == "" {
		a.Reason = fmt.Sprintf("the mount knew no workspace, so any account was accepted, and it is %s; if that is right, pin its workspace with: %s",
			proven.DescribeOwner(), ap.mount.Commands().PinWorkspace(proven.WorkspaceID))
	}
	a.PreviousTokenID = cfg.AdminID()
	if err = ap.mount.Approvals.Put(ctx, key, a); err != nil {
		return err
	}
	_, err = ap.configs.replaceAdmin(ctx, cfg, proven, limitation, a.Grace, a.Force)
	return err
}

// discard ends a token that was approved and cannot be used, and ends its approval.
func (ap *Approvals) discard(ctx context.Context, a *model.Approval, entry *model.Revocation) (*model.Approval, error) {
	result, err := ap.endToken(ctx, entry)
	if err != nil {
		return nil, err
	}
	reason := fmt.Sprintf("%s; token %s: %s", a.Reason, a.TokenID, result)
	if a.State != model.ApprovalRefused {
		reason = fmt.Sprintf("%s, but token %s was approved anyway: %s", a.Reason, a.TokenID, result)
	}
	return a.Ended("", reason, ap.mount.Now()), nil
}

// endToken ends an approved token at once, and returns a text about the result. If Modal does not let the token end
// now, the worker tries again.
func (ap *Approvals) endToken(ctx context.Context, entry *model.Revocation) (result string, err error) {
	due := entry.DueNow(ap.mount.Now())
	if err = ap.mount.Revocations.Put(ctx, due.Key(), due); err != nil {
		return "", err
	}
	outcome, _, err := ap.revoker.ProcessLocked(ctx, due, revocation.OnRequest)
	if model.IsStorageError(err) {
		return "", err
	}
	if outcome == revocation.Revoked {
		return "it deleted itself", nil
	}
	cfg, err := ap.mount.LoadConfig(ctx)
	if err != nil {
		return "", err
	}
	return ap.mount.NotePausedIn(cfg, "it is in the revocation queue and deletes itself"), nil
}
