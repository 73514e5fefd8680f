// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// approvalBudget bounds what a request about an approval does at Modal before it answers.
const approvalBudget = 20 * time.Second

// maxLate is how many flows of ended approvals are asked for at a time, for one role or the admin token.
const maxLate = 32

// ApprovalBegun is an approval with what only the answer to the write that began it tells.
type ApprovalBegun struct {
	*Approval

	URL, Code string
	Warnings  []string
}

// BeginApproval asks Modal for a page on which a person approves the next token of a static role. An empty
// ask.Role stands for the admin token. The engine then waits in the background. It needs no token for that.
func (e *Engine) BeginApproval(ctx context.Context, ask ApprovalRequest) (*ApprovalBegun, error) {
	ctx, cancel := context.WithTimeout(ctx, approvalBudget)
	defer cancel()
	if err := e.endGivenUp(ctx, ask.Role); err != nil {
		return nil, err
	}
	unlock, err := e.lockOwner(ctx, ask.Role)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := e.refuseRunning(ctx, ask.Role)
	if err != nil {
		return nil, err
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	warnings, err := e.mayApprove(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	begun, err := e.beginFlow(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	begun.Warnings = warnings
	if before != nil {
		begun.Late = before.Late
	}
	if err = e.approvals.Put(ctx, approvalKey(ask.Role), begun.Approval); err != nil {
		return nil, err
	}
	e.log().Info("approval begun", "role", ask.Role, "lapses_at", begun.Lapses, "force", ask.Force, "pinned_workspace", ask.PinnedWorkspace)
	e.event(ctx, Event{Kind: EventApprovalBegin, Modified: true, Role: ask.Role})
	e.follow(approvalKey(ask.Role))
	return begun, nil
}

// endGivenUp ends an approval that has lapsed, or whose token has still to be ended.
func (e *Engine) endGivenUp(ctx context.Context, role string) error {
	a, err := e.approvals.Get(ctx, approvalKey(role))
	if err != nil || a == nil || !a.Open || (a.State == ApprovalWaiting && e.Now().Before(a.Lapses)) {
		return err
	}
	_, err = e.advance(ctx, approvalKey(role), 0)
	return err
}

// refuseRunning refuses to begin an approval beside a running one, and never tells the page of that one. It
// returns the entry of the approvals before. The caller holds the lock of the role, or of config.
func (e *Engine) refuseRunning(ctx context.Context, role string) (before *Approval, err error) {
	before, err = e.approvals.Get(ctx, approvalKey(role))
	if err != nil || before == nil {
		return nil, err
	}
	path := e.approvalPath(role)
	switch {
	case before.Open:
		return nil, Refusef("an approval is under way since %s, and waits until %s; its url was told once, in the answer to the write that began it: "+
			"cancel it with: vault delete %s, then begin again with: vault write -f %s; nothing was changed",
			before.Began.Format(time.RFC3339), before.Lapses.Format(time.RFC3339), path, path)
	case len(before.Late) >= maxLate:
		return nil, Refusef("%d approvals of the last hour have ended, and the engine still asks Modal whether one of them brings a token: begin again after %s; nothing was changed",
			len(before.Late), before.Late[0].Until.Format(time.RFC3339))
	}
	return before, nil
}

// mayApprove refuses an approval that could not be used, before a person is sent to a browser. It warns if any
// account would do.
func (e *Engine) mayApprove(ctx context.Context, cfg *Config, ask ApprovalRequest) (warnings []string, err error) {
	var open bool
	if ask.Role == "" {
		open, err = e.mayApproveAdmin(ctx, cfg, ask)
	} else {
		open, err = e.mayApproveRole(ctx, cfg, ask)
	}
	if err != nil || !open || ask.PinnedWorkspace != "" || cfg.PinnedWorkspace != "" {
		return nil, err
	}
	return []string{fmt.Sprintf("nothing says whose account this has to be, so whoever opens the url decides, in any workspace: "+
		"compare workspace and identity once it is done, or cancel and begin again with pinned_workspace=… (vault write %sconfig pinned_workspace=… holds for every token)", e.mount())}, nil
}

// mayApproveAdmin also says whether the account may be of any workspace.
func (e *Engine) mayApproveAdmin(ctx context.Context, cfg *Config, ask ApprovalRequest) (open bool, err error) {
	if ask.Force {
		return true, nil
	}
	if cfg.Admin != nil && !cfg.Admin.Verified() {
		return false, Refusef("the admin token %s was stored without asking Modal, so nobody knows which workspace the next one has to be of: write force=true; nothing was changed", cfg.Admin.ID)
	}
	last, err := e.lastWorkspace(ctx, cfg)
	return last.ID == "", err
}

// mayApproveRole also says whether the account may be anybody's.
func (e *Engine) mayApproveRole(ctx context.Context, cfg *Config, ask ApprovalRequest) (open bool, err error) {
	now, err := e.rotation(ctx, ask.Role)
	switch {
	case err != nil:
		return false, err
	case now == nil:
		return false, Refusef("%s", e.NoSuchRole(ctx, ask.Role, fmt.Sprintf("; create it, without a token, with: %s; nothing was changed", e.Commands().Write("roles/"+ask.Role, "type="+TypeStatic))))
	case now.Role.Type != TypeStatic:
		return false, Refusef("role %s is %s, so the engine makes its tokens and nobody approves them: rotate it with: %s; nothing was changed",
			ask.Role, now.Role.Type, e.rotateCommand(now.Role, ask.Role))
	case now.empty():
		return true, nil
	}
	if err = e.refuseCrowd(ctx, now, RotateRequest{Grace: ask.Grace}); err != nil || ask.Force {
		return ask.Force, err
	}
	switch {
	case !now.Cred.Verified():
		return false, Refusef("the role's token %s was stored without asking Modal, so nobody knows whose the next one has to be: write force=true; nothing was changed", now.Cred.ID)
	case now.Cred.IdentityType != modalapi.IdentityUser:
		return false, Refusef("the role's token %s is of %s, and a person approves only their own: write force=true to change it; nothing was changed", now.Cred.ID, now.Cred.owner())
	case !cfg.serves(now.Cred.Token):
		return false, Refusef("the role's token %s belongs to %s, and config points to %s: write force=true to change it; nothing was changed", now.Cred.ID, now.Cred.ServerURL, cfg.ServerURL)
	}
	return false, nil
}

func (e *Engine) beginFlow(ctx context.Context, cfg *Config, ask ApprovalRequest) (*ApprovalBegun, error) {
	client, release, err := e.connect(cfg)
	if err != nil {
		return nil, err
	}
	defer release()
	page, err := client.BeginTokenFlow(ctx, ask.TokenTTL)
	if err != nil {
		return nil, fmt.Errorf("could not begin an approval: %w; nothing was changed", err)
	}
	now := e.Now()
	return &ApprovalBegun{URL: page.URL, Code: page.Code, Approval: &Approval{
		Flow:  Flow{FlowID: page.ID, WaitSecret: page.WaitSecret, ServerURL: cfg.ServerURL},
		State: ApprovalWaiting, Open: true, Began: now, Lapses: now.Add(cmp.Or(ask.LapseAfter, DefaultLapse)),
		TokenTTL: ask.TokenTTL, Grace: ask.Grace, Force: ask.Force, PinnedWorkspace: ask.PinnedWorkspace,
	}}, nil
}
