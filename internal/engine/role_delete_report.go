// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// maxLines is how many tokens an answer tells one by one.
const maxLines = 100

// DeletionReport tells what becomes of a deleted role's tokens: a line for each token, how many Modal rejects, how many
// the revocation queue still has, and the next step for an operator.
type DeletionReport struct {
	Tokens        []string
	Revoked, Left int
	NextStep      string
}

// report is nil where there was neither a role nor a token of its name.
func (rs *Roles) report(ctx context.Context, d *deletedRole, revoked []string) *DeletionReport {
	done := &DeletionReport{Revoked: len(revoked)}
	for _, id := range revoked {
		done.add("token " + id + ": revoked, Modal rejects it")
	}
	left, unreadable, err := rs.remainingOf(ctx, d)
	if err != nil {
		done.NextStep = fmt.Sprintf("the role is gone, and the revocation queue cannot be read to say what is left of it (%s): %s", err, rs.mount.Commands().ListDetailed("revocations"))
		return done
	}
	if !d.exists() && len(revoked)+len(left) == 0 {
		return nil
	}
	done.Left = len(left)
	for _, entry := range left {
		done.add(rs.fate(entry))
	}
	if d.tokenUnknown() {
		done.add(fmt.Sprintf("the current token: unknown, and not revoked, because %s", d.unreadable))
	}
	if len(unreadable) > 0 {
		done.add(fmt.Sprintf("%d revocations cannot be read, and may be of this role: %s says why",
			len(unreadable), rs.mount.Commands().Read("revocations/"+unreadable[0])))
	}
	if more := len(done.Tokens) - maxLines; more > 0 {
		done.Tokens = append(done.Tokens[:maxLines], fmt.Sprintf("and %d more: %s", more, rs.mount.Commands().ListDetailed("revocations")))
	}
	done.NextStep = rs.afterDelete(d, left)
	if cfg, err := rs.mount.LoadConfig(ctx); err == nil && cfg.Paused && len(left) > 0 {
		done.NextStep += "; the engine is paused, so it does nothing by itself until: " + rs.mount.Commands().Write("config", "paused=false")
	}
	return done
}

func (d *DeletionReport) add(line string) { d.Tokens = append(d.Tokens, line) }

// tokenUnknown reports whether the role may have had a current token that nobody can read.
func (d *deletedRole) tokenUnknown() bool { return d.cred == nil && d.unreadable != nil }

// remainingOf are the revocations of a deleted role, and the IDs of those that cannot be read.
func (rs *Roles) remainingOf(ctx context.Context, d *deletedRole) (left []*model.Revocation, unreadable []string, err error) {
	entries, unreadable, err := rs.mount.Revocations(ctx)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool { return !d.owns(entry) }), unreadable, err
}

// fate is what becomes of a token, in a line.
func (rs *Roles) fate(entry *model.Revocation) string {
	about, path := entry.About(), "revocations/"+entry.Key()
	now := rs.mount.Commands().Write(path, "force=true")
	switch {
	case entry.Method == model.MethodManual:
		line := fmt.Sprintf("%s: left to you, %s", about, entry.DeletionInstructions())
		if entry.WithForce(rs.mount.Now()).CanDelete() {
			line += "; or have the engine revoke it: " + now
		}
		return line
	case entry.Forced:
		return fmt.Sprintf("%s: not revoked yet, the engine goes on trying; see its last_error: %s", about, rs.mount.Commands().Read(path))
	case rs.mount.Now().Before(entry.NotBefore):
		return fmt.Sprintf("%s: works until %s, then the engine revokes it; at once with: %s", about, entry.NotBefore.Format(time.RFC3339), now)
	}
	return about + ": the engine revokes it within a minute or so"
}

// afterDelete is the next step for an operator, the most pressing one.
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
		return "look whether the role's service user is left at Modal, and delete it: " + rs.mount.Commands().ListDetailed("orphans")
	case manual > 0:
		return "delete each token that is left to you, as its line says"
	case waiting > 0:
		return fmt.Sprintf("nothing to do: the engine revokes the tokens that are left, the last from %s on; at once with: %s",
			last.Format(time.RFC3339), rs.mount.Commands().Delete("roles/"+d.name, "force=true"))
	case len(left) > 0:
		return "nothing to do: the engine goes on with the tokens that are left: " + rs.mount.Commands().ListDetailed("revocations")
	}
	return "nothing to do: no token of the role is left"
}
