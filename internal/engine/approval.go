// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Approvals runs the browser approvals that bring tokens for static roles and for config.
type Approvals struct {
	mount      *state.Mount
	owners     *state.Owners
	workspaces *state.Workspaces
	revoker    *revocation.Revoker
	rotations  *Rotations
	configs    *Configs
	// pollers are the goroutines of this node that wait for approvals.
	pollers *pollers
}

// put stores an approval, or removes it if a is nil.
func (ap *Approvals) put(ctx context.Context, key string, a *model.Approval) error {
	if a == nil {
		return ap.mount.Approvals.Delete(ctx, key)
	}
	return ap.mount.Approvals.Put(ctx, key, a)
}

// Read returns the approval of a role, or of config if role is empty. Without an approval it returns nil. If the
// approval is running, Read waits for its end, at most as long as wait says.
func (ap *Approvals) Read(ctx context.Context, role string, wait time.Duration) (*model.Approval, error) {
	a, err := ap.read(ctx, role)
	if err != nil || a == nil || !a.Open || wait <= 0 {
		return a, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for a != nil && a.Open && ap.mount.Wait(waiting, pollInterval) == nil {
		if a, err = ap.read(ctx, role); err != nil {
			return nil, err
		}
	}
	return a, ctx.Err()
}

func (ap *Approvals) read(ctx context.Context, role string) (*model.Approval, error) {
	a, err := ap.mount.Approvals.Get(ctx, model.ApprovalKey(role))
	if err != nil || a == nil || a.State == "" {
		return nil, err
	}
	return a, nil
}

// NextStep tells an operator what to do next about an approval.
func (ap *Approvals) NextStep(role string, a *model.Approval) string {
	run := ap.mount.Commands()
	switch {
	case a.State == model.ApprovalWaiting && a.TokenID != "":
		return fmt.Sprintf("nothing to do: token %s was approved, and the engine asks Modal about its owner before it uses the token: see the outcome with: %s", a.TokenID, run.ReadApproval(role))
	case a.State == model.ApprovalWaiting:
		return fmt.Sprintf("ask the person who has the url to approve by %s, and then the engine does the rest: see the state with: %s; "+
			"if the url is lost, cancel with: %s, then begin again with: %s", a.Lapses.Format(time.RFC3339), run.ReadApproval(role), run.CancelApproval(role), run.Approve(role))
	case a.State == model.ApprovalDone && role == "":
		return "nothing to do: the engine uses the new admin token"
	case a.State == model.ApprovalDone:
		return "nothing to do: read the token with: " + run.ReadToken(role)
	}
	return "begin again with: " + run.Approve(role)
}

// FirstStep tells an operator what to do after the write that began an approval.
func (ap *Approvals) FirstStep(role string, a *BegunApproval) string {
	step := "open url in a browser and approve"
	if a.Code != "" {
		step = "open url in a browser, compare the code and approve"
	}
	return fmt.Sprintf("%s by %s, and then the engine does the rest: see the state with: %s; no other answer contains the url, and the person who opens it decides whose account it is",
		step, a.Lapses.Format(time.RFC3339), ap.mount.Commands().ReadApproval(role))
}
