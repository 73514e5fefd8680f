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

// BeginApproval asks Modal for a page on which a person approves the next token of a static role, or the
// next admin token where ask.Role is empty, and begins to wait for it. Nobody's token is needed for that.
func (e *Engine) BeginApproval(ctx context.Context, ask ApprovalRequest) (*Approval, error) {
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
	cfg, err := e.mayApprove(ctx, ask)
	if err != nil {
		return nil, err
	}
	a, err := e.beginFlow(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	if err = e.approvals.Put(ctx, approvalKey(ask.Role), a); err != nil {
		return nil, err
	}
	e.log().Info("approval begun", "role", ask.Role, "flow", a.FlowID, "lapses_at", a.Lapses)
	e.event(ctx, Event{Kind: EventApprovalBegin, Modified: true, Role: ask.Role})
	e.follow(approvalKey(ask.Role))
	return a, nil
}

// endGivenUp lets go of an approval that lapsed or was cancelled while Modal did not answer.
func (e *Engine) endGivenUp(ctx context.Context, role string) error {
	a, err := e.approvals.Get(ctx, approvalKey(role))
	if err != nil || a == nil || !a.Open {
		return err
	}
	if a.State == ApprovalWaiting && e.Now().Before(a.Lapses) {
		return Refusef("an approval is under way since %s, and waits until %s: open %s, or cancel it first with: vault delete %s; nothing was changed",
			a.Began.Format(time.RFC3339), a.Lapses.Format(time.RFC3339), a.URL, e.approvalPath(role))
	}
	_, err = e.advance(ctx, approvalKey(role), 0)
	return err
}

// mayApprove refuses an approval that could not be used, before a person is sent to a browser.
func (e *Engine) mayApprove(ctx context.Context, ask ApprovalRequest) (*Config, error) {
	running, err := e.approvals.Get(ctx, approvalKey(ask.Role))
	if err != nil {
		return nil, err
	}
	if running != nil && running.Open {
		return nil, Refusef("another approval is under way: vault read %s tells how it stands; nothing was changed", e.approvalPath(ask.Role))
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if ask.Role == "" {
		return cfg, e.mayApproveAdmin(cfg, ask)
	}
	return cfg, e.mayApproveRole(ctx, cfg, ask)
}

func (e *Engine) mayApproveAdmin(cfg *Config, ask ApprovalRequest) error {
	if cfg.Admin == nil || cfg.Admin.Verified() || ask.Force {
		return nil
	}
	return Refusef("the admin token %s was stored unproven, so nothing says of which workspace the next one has to be: write force=true; nothing was changed", cfg.Admin.ID)
}

func (e *Engine) mayApproveRole(ctx context.Context, cfg *Config, ask ApprovalRequest) error {
	now, err := e.rotation(ctx, ask.Role)
	switch {
	case err != nil:
		return err
	case now == nil:
		return Refusef("%s", e.NoSuchRole(ctx, ask.Role, fmt.Sprintf("; create it, without a token, with: %s; nothing was changed", e.Commands().Write("roles/"+ask.Role, "type="+TypeStatic))))
	case now.Role.Type != TypeStatic:
		return Refusef("role %s is %s, so the engine makes its tokens and nobody approves them: rotate it with: %s; nothing was changed",
			ask.Role, now.Role.Type, e.rotateCommand(now.Role, ask.Role))
	case now.empty():
		return nil
	}
	if err = e.refuseCrowd(ctx, now, RotateRequest{Grace: ask.Grace}); err != nil || ask.Force {
		return err
	}
	switch {
	case !now.Cred.Verified():
		return Refusef("the role's token %s was stored unproven, so nothing says whose the next one has to be: write force=true; nothing was changed", now.Cred.ID)
	case now.Cred.IdentityType != modalapi.IdentityUser:
		return Refusef("the role's token %s is of %s, and a person approves only their own: write force=true to change it; nothing was changed", now.Cred.ID, now.Cred.owner())
	case !cfg.serves(now.Cred.Token):
		return Refusef("the role's token %s belongs to %s, and config points to %s: write force=true to change it; nothing was changed", now.Cred.ID, now.Cred.ServerURL, cfg.ServerURL)
	}
	return nil
}

func (e *Engine) beginFlow(ctx context.Context, cfg *Config, ask ApprovalRequest) (*Approval, error) {
	client, release, err := e.connect(cfg)
	if err != nil {
		return nil, err
	}
	defer release()
	flow, err := client.BeginTokenFlow(ctx, ask.TokenTTL)
	if err != nil {
		return nil, fmt.Errorf("could not begin an approval: %w; nothing was changed", err)
	}
	now := e.Now()
	return &Approval{
		FlowID: flow.ID, WaitSecret: flow.WaitSecret, URL: flow.URL, Code: flow.Code, ServerURL: cfg.ServerURL,
		State: ApprovalWaiting, Open: true, Began: now, Lapses: now.Add(cmp.Or(ask.LapseAfter, DefaultLapse)),
		TokenTTL: ask.TokenTTL, Grace: ask.Grace, Force: ask.Force,
	}, nil
}
