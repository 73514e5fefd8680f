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

// Approvals have people approve the tokens of static roles, and of config, in a browser.
type Approvals struct {
	mount      *state.Mount
	owners     *state.Owners
	workspaces *state.Workspaces
	queue      *revocation.Queue
	rotations  *Rotations
	configs    *Configs
	// pollers are the approvals that this node waits for.
	pollers *pollers
}

// put stores an approval, or removes it where it is nil.
func (ap *Approvals) put(ctx context.Context, key string, a *model.Approval) error {
	if a == nil {
		return ap.mount.Approvals.Delete(ctx, key)
	}
	return ap.mount.Approvals.Put(ctx, key, a)
}

// path is where operators find it.
func (ap *Approvals) path(role string) string {
	if role == "" {
		return ap.mount.CommandPrefix() + "config/approval"
	}
	return fmt.Sprintf("%srotate/%s/approval", ap.mount.CommandPrefix(), role)
}

// Read is the approval of a role, or of the admin token where role is empty: nil where none was
// begun. It waits, so long at most, for a running one to end.
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

// NextStep returns the next step of an approval.
func (ap *Approvals) NextStep(role string, a *model.Approval) string {
	path := ap.path(role)
	switch {
	case a.State == model.ApprovalWaiting && a.TokenID != "":
		return fmt.Sprintf("nothing to do: token %s was approved, and the engine asks Modal about its owner before it uses the token: vault read %s tells the outcome", a.TokenID, path)
	case a.State == model.ApprovalWaiting:
		return fmt.Sprintf("the person who has the url approves by %s, and the engine does the rest: vault read %s tells how it stands; "+
			"if the url is lost, cancel (vault delete %s) and begin again (vault write -f %s)", a.Lapses.Format(time.RFC3339), path, path, path)
	case a.State == model.ApprovalDone && role == "":
		return "nothing to do: the engine uses the new admin token"
	case a.State == model.ApprovalDone:
		return fmt.Sprintf("nothing to do: read the token with: vault read %screds/%s", ap.mount.CommandPrefix(), role)
	}
	return "begin again with: vault write -f " + path
}

// FirstStep returns the next step of an approval that was just begun.
func (ap *Approvals) FirstStep(role string, a *BegunApproval) string {
	step := "open url in a browser and approve"
	if a.Code != "" {
		step = "open url in a browser, compare the code and approve"
	}
	return fmt.Sprintf("%s by %s; the engine does the rest: vault read %s tells how it stands; no other answer tells the url, and whoever opens it decides whose account it is",
		step, a.Lapses.Format(time.RFC3339), ap.path(role))
}
