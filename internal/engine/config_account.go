// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// checkAccount refuses a config whose admin token is not of the pinned workspace. Without force it also
// refuses an admin token of another workspace than the last one's, and certificates that would let another
// server receive stored tokens. The refusal names everything that force would accept.
func (e *Engine) checkAccount(ctx context.Context, before, after *Config, force bool) error {
	changed := after.adminID() != before.adminID() || after.PinnedWorkspace != before.PinnedWorkspace
	if changed && after.Admin != nil {
		if err := e.refuseOutside(ctx, after, *after.Admin); err != nil {
			return err
		}
	}
	if force {
		return nil
	}
	var accepted []string
	if after.Admin != nil && after.Admin.Verified() {
		last, err := e.lastWorkspace(ctx, before)
		if err != nil {
			return err
		}
		if last.ID != "" && last.ID != after.Admin.WorkspaceID {
			accepted = append(accepted, fmt.Sprintf("another workspace: admin token %s is of %s, and the one before is of %s, whose service users are then left to you",
				after.Admin.ID, after.Admin.owner(), last))
		}
	}
	exposed, err := e.exposed(ctx, before, after)
	if err != nil {
		return err
	}
	if exposed > 0 {
		accepted = append(accepted, fmt.Sprintf("other certificates: a server that could not prove its name before may then receive the secrets of %s of this mount "+
			"(current tokens of roles, revocations, approvals)", counted(exposed, "stored token")))
	}
	if len(accepted) == 0 {
		return nil
	}
	return Refusef("this takes force=true, which accepts %s; nothing was changed", strings.Join(accepted, "; and "))
}

// exposed counts the stored tokens and approvals whose secrets could go to a server that could not prove
// its name before. It leaves out the token that the write brings, and counts each entry that cannot be read.
func (e *Engine) exposed(ctx context.Context, before, after *Config) (count int, err error) {
	if before.like(after) {
		return 0, nil
	}
	rotations, lostRoles, err := e.Rotations(ctx)
	if err != nil {
		return 0, err
	}
	entries, lostEntries, err := e.Ledger(ctx)
	if err != nil {
		return 0, err
	}
	servers, err := e.approvalServers(ctx)
	if err != nil {
		return 0, err
	}
	tokens := make([]Token, 0, len(rotations)+len(entries)+1)
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
		if t.Secret != "" && t.ID != after.adminID() {
			servers = append(servers, t.ServerURL)
		}
	}
	servers = slices.DeleteFunc(servers, func(server string) bool {
		return !modalapi.AddsRoots(before.rootsFor(server), after.rootsFor(server))
	})
	return len(servers) + len(lostRoles) + len(lostEntries), nil
}

// mayStayUnverified refuses an unverified admin token if its workspace or its server matters: only Modal knows
// the workspace.
func (e *Engine) mayStayUnverified(ctx context.Context, before, after *Config, pair modalapi.Token) error {
	last, err := e.lastWorkspace(ctx, before)
	switch {
	case err != nil:
		return err
	case after.PinnedWorkspace != "":
		return newPin(after.PinnedWorkspace).refuse(unproven(pair, after.ServerURL), configPin)
	case before.Admin != nil && !before.like(after):
		return Refusef("admin token %s: another server_url or ca_cert takes an admin token that the server accepts: leave verify=false out; nothing was changed", pair.ID)
	case last.ID != "":
		return Refusef("admin token %s: this mount's admin token is, or was, of %s, and only Modal knows whether this one is, too: leave verify=false out; nothing was changed",
			pair.ID, last)
	}
	return nil
}

// counted is a number of things, as in "1 stored token" or "2 stored tokens".
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
