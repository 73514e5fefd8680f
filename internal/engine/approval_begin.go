// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// approvalBudget limits the time that a request about an approval spends at Modal before it answers.
const approvalBudget = 20 * time.Second

// maxEndedFlows limits how many flows of ended approvals the engine asks for at a time, for one role or for config.
const maxEndedFlows = 32

// BegunApproval is an approval together with the URL and code. Only the answer to the write that began the approval
// contains them.
type BegunApproval struct {
	*model.Approval

	URL, Code string
	Warnings  []string
}

// Begin asks Modal for a page on which a person approves the next token of a static role, or of config if ask.Role is
// empty. The call to Modal needs no token. The engine then waits for the approval in the background.
func (ap *Approvals) Begin(ctx context.Context, ask model.ApprovalRequest) (*BegunApproval, error) {
	ctx, cancel := context.WithTimeout(ctx, approvalBudget)
	defer cancel()
	if err := ap.endLapsed(ctx, ask.Role); err != nil {
		return nil, err
	}
	unlock, err := ap.mount.LockOwner(ctx, ask.Role)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := ap.checkNoneRuns(ctx, ask.Role)
	if err != nil {
		return nil, err
	}
	cfg, err := ap.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	warnings, err := ap.checkUsable(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	begun, err := ap.beginFlow(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	begun.Warnings = warnings
	if before != nil {
		begun.EndedFlows = before.EndedFlows
	}
	if err = ap.mount.Approvals.Put(ctx, model.ApprovalKey(ask.Role), begun.Approval); err != nil {
		return nil, err
	}
	ap.mount.Log().Info("approval begun", "role", ask.Role, "lapses_at", begun.Lapses, "force", ask.Force, "pinned_workspace", ask.PinnedWorkspace)
	ap.mount.Publish(ctx, model.Event{Kind: model.EventApprovalBegin, Modified: true, Role: ask.Role})
	ap.poll(model.ApprovalKey(ask.Role))
	return begun, nil
}

// endLapsed advances an approval that has lapsed, or whose token must still be ended.
func (ap *Approvals) endLapsed(ctx context.Context, role string) error {
	a, err := ap.mount.Approvals.Get(ctx, model.ApprovalKey(role))
	if err != nil || a == nil || !a.Open || (a.State == model.ApprovalWaiting && ap.mount.Now().Before(a.Lapses)) {
		return err
	}
	_, err = ap.advance(ctx, model.ApprovalKey(role), 0)
	return err
}

// checkNoneRuns refuses a second approval while one is running, and does not repeat the URL of the running approval.
// It returns the stored approval. The caller holds the lock of the role or of config.
func (ap *Approvals) checkNoneRuns(ctx context.Context, role string) (before *model.Approval, err error) {
	before, err = ap.mount.Approvals.Get(ctx, model.ApprovalKey(role))
	if err != nil || before == nil {
		return nil, err
	}
	switch {
	case before.Open:
		return nil, model.UserErrorf("an approval is running since %s and waits until %s; only the answer to the write that began it contained its url: "+
			"cancel it with: %s, then begin again with: %s; nothing was changed",
			before.Began.Format(time.RFC3339), before.Lapses.Format(time.RFC3339), ap.mount.Commands().CancelApproval(role), ap.mount.Commands().Approve(role))
	case len(before.EndedFlows) >= maxEndedFlows:
		return nil, model.UserErrorf("%d approvals ended in the last hour, and the engine still asks Modal whether they bring a token: begin again after %s; nothing was changed",
			len(before.EndedFlows), before.EndedFlows[0].Until.Format(time.RFC3339))
	}
	return before, nil
}

// checkUsable refuses an approval whose token the engine could not use, before a person opens a browser. It warns if
// a token of any account would be accepted.
func (ap *Approvals) checkUsable(ctx context.Context, cfg *model.Config, ask model.ApprovalRequest) (warnings []string, err error) {
	var open bool
	if ask.Role == "" {
		open, err = ap.checkUsableForAdmin(ctx, cfg, ask)
	} else {
		open, err = ap.checkUsableForRole(ctx, cfg, ask)
	}
	if err != nil || !open || ask.PinnedWorkspace != "" || cfg.PinnedWorkspace != "" {
		return nil, err
	}
	return []string{fmt.Sprintf("no setting says whose account this must be, so the person who opens the url can use any account in any workspace: "+
		"compare workspace and identity when the approval is done, or cancel and begin again with pinned_workspace=… (to pin the workspace for every token: %s)", ap.mount.Commands().PinWorkspace("…"))}, nil
}

// checkUsableForAdmin also reports whether the account may be of any workspace.
func (ap *Approvals) checkUsableForAdmin(ctx context.Context, cfg *model.Config, ask model.ApprovalRequest) (open bool, err error) {
	if ask.Force {
		return true, nil
	}
	if cfg.Admin != nil && !cfg.Admin.Verified() {
		return false, model.UserErrorf("the admin token %s was stored with verify=false, so the engine does not know the workspace of the next admin token: begin with force=true to accept any workspace; nothing was changed", cfg.Admin.ID)
	}
	last, err := ap.workspaces.Last(ctx, cfg)
	return last.ID == "", err
}

// checkUsableForRole also reports whether the account may belong to any person.
func (ap *Approvals) checkUsableForRole(ctx context.Context, cfg *model.Config, ask model.ApprovalRequest) (open bool, err error) {
	rotation, err := ap.mount.Rotation(ctx, ask.Role)
	switch {
	case err != nil:
		return false, err
	case rotation == nil:
		return false, model.UserErrorf("%s", ap.mount.NoSuchRole(ctx, ask.Role, fmt.Sprintf("; create it, without a token, with: %s; nothing was changed", ap.mount.Commands().CreateEmpty(ask.Role))))
	case rotation.Role.Type != model.TypeStatic:
		return false, model.UserErrorf("role %s is %s, so the engine creates its tokens and no person approves them: rotate it with: %s; nothing was changed",
			ask.Role, rotation.Role.Type, ap.mount.Commands().ReplaceToken(rotation.Role, ask.Role))
	case rotation.HasNoToken():
		return true, nil
	}
	if err = ap.rotations.checkPreviousTokenLimit(ctx, rotation, model.RotateRequest{Grace: ask.Grace}); err != nil || ask.Force {
		return ask.Force, err
	}
	switch {
	case !rotation.Cred.Verified():
		return false, model.UserErrorf("the role's token %s was stored with verify=false, so the engine does not know the owner of the next token: begin with force=true to accept any owner; nothing was changed", rotation.Cred.ID)
	case rotation.Cred.IdentityType != modalapi.IdentityUser:
		return false, model.UserErrorf("the role's token %s belongs to %s, and a person can approve only a token of their own: begin with force=true to change the owner; nothing was changed", rotation.Cred.ID, rotation.Cred.DescribeOwner())
	case !cfg.Serves(rotation.Cred.Token):
		return false, model.UserErrorf("the role's token %s belongs to server %s, but config points to %s: begin with force=true to change the server; nothing was changed", rotation.Cred.ID, rotation.Cred.ServerURL, cfg.ServerURL)
	}
	return false, nil
}

func (ap *Approvals) beginFlow(ctx context.Context, cfg *model.Config, ask model.ApprovalRequest) (*BegunApproval, error) {
	client, release, err := ap.mount.Connect(cfg)
	if err != nil {
		return nil, err
	}
	defer release()
	page, err := client.BeginTokenFlow(ctx, ask.TokenTTL)
	if err != nil {
		return nil, fmt.Errorf("the approval was not begun: %w; nothing was changed", err)
	}
	now := ap.mount.Now()
	return &BegunApproval{URL: page.URL, Code: page.Code, Approval: &model.Approval{
		Flow:  model.Flow{FlowID: page.ID, WaitSecret: page.WaitSecret, ServerURL: cfg.ServerURL},
		State: model.ApprovalWaiting, Open: true, Began: now, Lapses: now.Add(cmp.Or(ask.LapseAfter, model.DefaultLapse)),
		TokenTTL: ask.TokenTTL, Grace: ask.Grace, Force: ask.Force, PinnedWorkspace: ask.PinnedWorkspace,
	}}, nil
}
