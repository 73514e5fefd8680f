// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// maxLines limits how many tokens an answer lists one by one.
const maxLines = 100

// DeletionReport tells what happens to the tokens of a deleted role. It has a line for each token, the number of
// tokens that Modal rejects, the number of tokens left in the revocation queue, and the next step for an operator.
type DeletionReport struct {
	Tokens        []string
	Revoked, Left int
	NextStep      string
}

// report returns nil if there was neither a role nor a token of its name.
func (rs *Roles) report(ctx context.Context, d *deletedRole, revoked []string) *DeletionReport {
	done := &DeletionReport{Revoked: len(revoked)}
	for _, id := range revoked {
		done.add("token " + id + ": revoked, Modal rejects it")
	}
	left, unreadable, err := rs.remainingOf(ctx, d)
	if err != nil {
		done.NextStep = fmt.Sprintf("list the role's remaining tokens later with: %s; the role was deleted, but the revocation queue cannot be read now (%s)", rs.mount.Commands().ListRevocations(), err)
		return done
	}
	if !d.exists() && len(revoked)+len(left) == 0 {
		return nil
	}
	done.Left = len(left)
	for _, entry := range left {
		done.add(rs.describeRemaining(entry))
	}
	if d.tokenUnknown() {
		done.add(fmt.Sprintf("the current token is unknown and not revoked, because %s", d.unreadable))
	}
	if len(unreadable) > 0 {
		done.add(fmt.Sprintf("%d revocations cannot be read and may belong to this role; to see why: %s",
			len(unreadable), rs.mount.Commands().ReadRevocation(unreadable[0])))
	}
	if more := len(done.Tokens) - maxLines; more > 0 {
		done.Tokens = append(done.Tokens[:maxLines], fmt.Sprintf("and %d more: %s", more, rs.mount.Commands().ListRevocations()))
	}
	done.NextStep = rs.afterDelete(d, left)
	if len(left) > 0 {
		done.NextStep = rs.mount.NoteDelay(ctx, done.NextStep)
	}
	return done
}

func (d *DeletionReport) add(line string) { d.Tokens = append(d.Tokens, line) }

// tokenUnknown reports whether the role may have had a current token that nobody can read.
func (d *deletedRole) tokenUnknown() bool { return d.cred == nil && d.unreadable != nil }

// remainingOf returns the revocations of a deleted role, and the IDs of revocations that cannot be read.
func (rs *Roles) remainingOf(ctx context.Context, d *deletedRole) (left []*model.Revocation, unreadable []string, err error) {
	entries, unreadable, err := rs.mount.AllRevocations(ctx)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool { return !d.owns(entry) }), unreadable, err
}

// describeRemaining tells in one line what happens to a token in the revocation queue.
func (rs *Roles) describeRemaining(entry *model.Revocation) string {
	about := entry.About()
	revokeNow := rs.mount.Commands().ForceRevocation(entry.Key())
	switch {
	case entry.Method == model.MethodManual:
		line := fmt.Sprintf("%s: the engine does not revoke it, so %s", about, entry.DeletionInstructions())
		if entry.WithForce(rs.mount.Now()).CanDelete() {
			line += "; or let the engine revoke it: " + revokeNow
		}
		return line
	case entry.Forced:
		return fmt.Sprintf("%s: not revoked yet, the engine keeps trying; see last_error with: %s", about, rs.mount.Commands().ReadRevocation(entry.Key()))
	case rs.mount.Now().Before(entry.NotBefore):
		return fmt.Sprintf("%s: works until %s, then the engine revokes it; to revoke it now: %s", about, entry.NotBefore.Format(time.RFC3339), revokeNow)
	}
	return about + ": the engine revokes it within a minute or so"
}

// afterDelete returns the most urgent next step for an operator.
func (rs *Roles) afterDelete(d *deletedRole, left []*model.Revocation) string {
	var manual, waiting int
	var last time.Time
	for _, entry := range left {
		switch {
		case entry.Method == model.MethodManual:
			manual++
		case rs.mount.Now().Before(entry.NotBefore):
			waiting++
			last = model.Later(last, entry.NotBefore)
		}
	}
	switch {
	case d.tokenUnknown():
		return "check whether the role's service user is left at Modal, and delete it: " + rs.mount.Commands().ListOrphans()
	case manual > 0:
		return "delete the tokens that the engine does not revoke, as their lines say"
	case waiting > 0:
		return fmt.Sprintf("nothing to do: the engine revokes the remaining tokens, the last one after %s; to revoke all now: %s",
			last.Format(time.RFC3339), rs.mount.Commands().DeleteRole(d.name))
	case len(left) > 0:
		return "nothing to do: the engine revokes the remaining tokens; to list them: " + rs.mount.Commands().ListRevocations()
	}
	return "nothing to do: no token of the role is left"
}
