// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// maxLines is how many tokens an answer tells one by one.
const maxLines = 100

// Deletion tells what becomes of a deleted role's tokens: a line for each token, how many Modal rejects, how many
// the revocation queue still has, and the next step for an operator.
type Deletion struct {
	Tokens        []string
	Revoked, Left int
	NextStep      string
}

// deletion is nil where there was neither a role nor a token of its name.
func (e *Engine) deletion(ctx context.Context, d *deletedRole, revoked []string) *Deletion {
	done := &Deletion{Revoked: len(revoked)}
	for _, id := range revoked {
		done.tell("token " + id + ": revoked, Modal rejects it")
	}
	left, unreadable, err := e.leftOf(ctx, d)
	if err != nil {
		done.NextStep = fmt.Sprintf("the role is gone, and the revocation queue cannot be read to say what is left of it (%s): %s", err, e.Commands().ListDetailed("revocations"))
		return done
	}
	if !d.exists() && len(revoked)+len(left) == 0 {
		return nil
	}
	done.Left = len(left)
	for _, entry := range left {
		done.tell(e.fate(entry))
	}
	if d.tokenUnknown() {
		done.tell(fmt.Sprintf("the current token: unknown, and not revoked, because %s", d.unreadable))
	}
	if len(unreadable) > 0 {
		done.tell(fmt.Sprintf("%d revocations cannot be read, and may be of this role: %s says why",
			len(unreadable), e.Commands().Read("revocations/"+unreadable[0])))
	}
	if more := len(done.Tokens) - maxLines; more > 0 {
		done.Tokens = append(done.Tokens[:maxLines], fmt.Sprintf("and %d more: %s", more, e.Commands().ListDetailed("revocations")))
	}
	done.NextStep = e.afterDelete(d, left)
	if cfg, err := e.loadConfig(ctx); err == nil && cfg.Paused && len(left) > 0 {
		done.NextStep += "; the engine is paused, so it does nothing by itself until: " + e.Commands().Write("config", "paused=false")
	}
	return done
}

func (d *Deletion) tell(line string) { d.Tokens = append(d.Tokens, line) }

// tokenUnknown reports whether the role may have had a current token that nobody can read.
func (d *deletedRole) tokenUnknown() bool { return d.cred == nil && d.unreadable != nil }

// leftOf are the revocations of a deleted role, and the IDs of those that cannot be read.
func (e *Engine) leftOf(ctx context.Context, d *deletedRole) (left []*Revocation, unreadable []string, err error) {
	entries, unreadable, err := e.Ledger(ctx)
	return slices.DeleteFunc(entries, func(entry *Revocation) bool { return !d.owns(entry) }), unreadable, err
}

// fate is what becomes of a token, in a line.
func (e *Engine) fate(entry *Revocation) string {
	about, path := entry.about(), "revocations/"+entry.Key()
	now := e.Commands().Write(path, "force=true")
	switch {
	case entry.Method == methodManual:
		line := fmt.Sprintf("%s: left to you, %s", about, entry.howToDelete())
		if entry.forced(e.Now()).ours() {
			line += "; or have the engine revoke it: " + now
		}
		return line
	case entry.Forced:
		return fmt.Sprintf("%s: not revoked yet, the engine goes on trying; see its last_error: %s", about, e.Commands().Read(path))
	case e.Now().Before(entry.NotBefore):
		return fmt.Sprintf("%s: works until %s, then the engine revokes it; at once with: %s", about, entry.NotBefore.Format(time.RFC3339), now)
	}
	return about + ": the engine revokes it within a minute or so"
}

// about names a token of the revocation queue. Only those that were current have a version.
func (r *Revocation) about() string {
	switch {
	case r.Leased:
		return fmt.Sprintf("service user %s of a lease", r.Key())
	case r.Reason == reasonApproved:
		return fmt.Sprintf("token %s of an approval", r.Key())
	case r.Version == 0:
		return fmt.Sprintf("service user %s of a rotation that did not finish", r.Key())
	}
	return fmt.Sprintf("token %s (version %d)", r.Key(), r.Version)
}

// afterDelete is the next step for an operator, the most pressing one.
func (e *Engine) afterDelete(d *deletedRole, left []*Revocation) string {
	var manual, waiting int
	var last time.Time
	for _, entry := range left {
		switch {
		case entry.Method == methodManual:
			manual++
		case e.Now().Before(entry.NotBefore):
			waiting++
			last = later(last, entry.NotBefore)
		}
	}
	switch {
	case d.tokenUnknown():
		return "look whether the role's service user is left at Modal, and delete it: " + e.Commands().ListDetailed("orphans")
	case manual > 0:
		return "delete each token that is left to you, as its line says"
	case waiting > 0:
		return fmt.Sprintf("nothing to do: the engine revokes the tokens that are left, the last from %s on; at once with: %s",
			last.Format(time.RFC3339), e.Commands().Delete("roles/"+d.name, "force=true"))
	case len(left) > 0:
		return "nothing to do: the engine goes on with the tokens that are left: " + e.Commands().ListDetailed("revocations")
	}
	return "nothing to do: no token of the role is left"
}
