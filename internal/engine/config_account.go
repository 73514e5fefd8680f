// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// checkAccount refuses a config whose admin token is not of the pinned workspace. Without force it also refuses an
// admin token of another workspace than the last admin token's, and certificates that would let another server
// receive stored tokens. The refusal names everything that force would accept.
func (cs *Configs) checkAccount(ctx context.Context, before, after *model.Config, force bool) error {
	changed := after.AdminID() != before.AdminID() || after.PinnedWorkspace != before.PinnedWorkspace
	if changed && after.Admin != nil {
		if err := cs.workspaces.CheckPinned(ctx, after, *after.Admin); err != nil {
			return err
		}
	}
	if force {
		return nil
	}
	var accepted []string
	if after.Admin != nil && after.Admin.Verified() {
		last, err := cs.workspaces.Last(ctx, before)
		if err != nil {
			return err
		}
		if last.ID != "" && last.ID != after.Admin.WorkspaceID {
			accepted = append(accepted, fmt.Sprintf("another workspace: admin token %s belongs to %s, but the previous admin token belongs to %s, and the engine can no longer manage the service users there",
				after.Admin.ID, after.Admin.DescribeOwner(), last))
		}
	}
	exposed, err := cs.countExposed(ctx, before, after)
	if err != nil {
		return err
	}
	if exposed > 0 {
		accepted = append(accepted, fmt.Sprintf("other certificates: a server that the old certificates do not accept may then receive the secrets of %s of this mount "+
			"(current tokens of roles, revocations, approvals)", counted(exposed, "stored token")))
	}
	if len(accepted) == 0 {
		return nil
	}
	return model.UserErrorf("this write needs force=true, which accepts %s; nothing was changed", strings.Join(accepted, "; and "))
}

// countExposed counts the stored tokens and approvals whose secrets could go to a server that the old certificates do
// not accept. It leaves out the token that the write brings, and counts each entry that cannot be read.
func (cs *Configs) countExposed(ctx context.Context, before, after *model.Config) (count int, err error) {
	if before.ReachesSameServer(after) {
		return 0, nil
	}
	rotations, lostRoles, err := cs.mount.Rotations(ctx)
	if err != nil {
		return 0, err
	}
	entries, lostEntries, err := cs.mount.AllRevocations(ctx)
	if err != nil {
		return 0, err
	}
	servers, err := cs.mount.ApprovalServers(ctx)
	if err != nil {
		return 0, err
	}
	tokens := make([]model.Token, 0, len(rotations)+len(entries)+1)
	for _, r := range rotations {
		tokens = append(tokens, r.Cred.Token)
	}
	for _, entry := range entries {
		tokens = append(tokens, entry.Token)
	}
	if before.Admin != nil {
		tokens = append(tokens, *before.Admin)
	}
	for _, t := range tokens {
		if t.Secret != "" && t.ID != after.AdminID() {
			servers = append(servers, t.ServerURL)
		}
	}
	servers = slices.DeleteFunc(servers, func(server string) bool {
		return !modalapi.AddsRoots(before.RootsFor(server), after.RootsFor(server))
	})
	return len(servers) + len(lostRoles) + len(lostEntries), nil
}

// checkUnverified refuses an unverified admin token if its workspace or its server matters, because only Modal knows
// the workspace.
func (cs *Configs) checkUnverified(ctx context.Context, before, after *model.Config, supplied modalapi.Token) error {
	last, err := cs.workspaces.Last(ctx, before)
	switch {
	case err != nil:
		return err
	case after.PinnedWorkspace != "":
		return model.NewPin(after.PinnedWorkspace).Check(model.UnverifiedToken(supplied, after.ServerURL), state.ConfigPin)
	case before.Admin != nil && !before.ReachesSameServer(after):
		return model.UserErrorf("admin token %s is not verified, but a write that changes server_url or ca_cert needs an admin token that the server accepts: write again without verify=false; nothing was changed", supplied.ID)
	case last.ID != "":
		return model.UserErrorf("admin token %s is not verified, but it must belong to %s like this mount's last admin token: write again without verify=false; nothing was changed",
			supplied.ID, last)
	}
	return nil
}

// counted returns a number of things as text, like "1 stored token" or "2 stored tokens".
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
