// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const (
	// auditSpan is the part of the audit log that a run reads. It begins early, because Modal's clock may be late.
	auditSpan  = 2 * time.Hour
	auditEarly = 5 * time.Minute
	// mostTexts limits the texts of Modal in one observation.
	mostTexts = 20
)

// workspace reads what the workspace has: members who left, custom roles and the audit log. It changes nothing.
func (t *trial) workspace(ctx context.Context) {
	t.membersWhoLeft(ctx)
	t.customRoles(ctx)
	t.auditLog(ctx)
}

func (t *trial) membersWhoLeft(ctx context.Context) {
	members, err := t.client.Members(ctx, t.own)
	if err != nil {
		t.find("members-who-left", false, "WorkspaceMembersList answered %s", answer(err))
		return
	}
	left := 0
	for _, m := range members {
		if m.Left {
			left++
		}
	}
	own := slices.ContainsFunc(members, func(m modalapi.Member) bool { return m.UserID == t.who.ID && !m.Left && m.Role != "" })
	switch {
	case t.who.Kind == modalapi.IdentityUser && !own:
		t.find("members-who-left", false, "the member whose token this is has no role, or is listed as a member who left")
	case left == 0:
		t.skip("no member of this workspace has left", "members-who-left")
	default:
		t.find("members-who-left", true, "%d of %d members are listed with a date", left, len(members))
	}
}

// customRoles reads which custom roles exist. Their names stay out of the report, because a workspace chooses them.
func (t *trial) customRoles(ctx context.Context) {
	environments, err := t.client.Environments(ctx, t.own)
	if err != nil || len(environments) == 0 {
		t.skip("this token sees no environment", "custom-roles")
		return
	}
	roles, err := t.client.CustomRoles(ctx, t.own, environments[0].ID)
	if err != nil {
		t.learn("custom-roles", "EnvironmentGetRoles answered %s", answer(err))
		return
	}
	var permissions []string
	for _, role := range roles {
		permissions = append(permissions, role.Permissions...)
	}
	t.learn("custom-roles", "there are %d custom roles, with the permissions %s", len(roles), texts(permissions))
}

// auditLog reads the entries of this run. Entries may come late, so it waits for the first.
func (t *trial) auditLog(ctx context.Context) {
	var entries []modalapi.AuditEntry
	var err error
	took, _ := until(ctx, patience, func() bool {
		entries, err = t.client.AuditLog(ctx, t.own, t.started, t.started.Add(auditSpan))
		return err != nil || len(entries) > 0 || len(t.made) == 0
	})
	t.learn("audit-log", "the answer was %s%s", answer(err), t.robotOfAudit)
	switch {
	case err != nil:
		t.skip("the audit log could not be read", "audit-log-uses")
		return
	case len(t.made) == 0:
		t.skip("this run created no service user", "audit-log-uses")
		return
	}
	var own, robots []string
	for _, entry := range entries {
		switch {
		case entry.ActorID == t.who.ID:
			own = append(own, entry.Action)
		case slices.Contains(t.made, entry.ActorID):
			robots = append(robots, entry.Action)
		}
	}
	t.learn("audit-log-uses", "after %s, %d entries were by this token's owner (%s), and %d by service users that used their tokens (%s)",
		took.Round(time.Second), len(own), texts(own), len(robots), texts(robots))
}

// texts lists different texts of Modal, in order.
func texts(all []string) string {
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == 0 {
		return "none"
	}
	more := ""
	if len(all) > mostTexts {
		all, more = all[:mostTexts], fmt.Sprintf(" and %d more", len(all)-mostTexts)
	}
	return strings.Join(all, ", ") + more
}
