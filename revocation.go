// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Why a token is in the ledger.
const (
	reasonRotated     = "rotated"
	reasonUndone      = "undone"
	reasonRoleDeleted = "role deleted"
	reasonUnfinished  = "unfinished"
)

// How a token ends. Automatic: the engine deletes the service user that owns it. Manual: only a person
// can make Modal refuse it, as modal-client v0.11.1 has no RPC that deletes a member's token.
const (
	methodAutomatic = "automatic"
	methodManual    = "manual"
)

// States of an entry.
const (
	stateGrace       = "grace period"
	stateDueNow      = "due"
	stateRetrying    = "retrying"
	stateUnconfirmed = "unconfirmed"
	stateWaiting     = "waiting for an operator"
)

const (
	firstBackOff = time.Minute
	maxBackOff   = 6 * time.Hour
)

const tokensPage = "https://modal.com/settings/tokens"

// revocation is an entry of the ledger: a token that the engine still has to see refused. An entry
// made before its token has no ID yet and is known by the service user's name. NotBefore is when the
// engine begins; NextAttempt when it tries again. Unconfirmed: Modal acknowledged the deletion and
// still accepts the token.
type revocation struct {
	token
	Role        string    `json:"role"`
	Lineage     string    `json:"lineage,omitempty"`
	Version     int       `json:"version"`
	Reason      string    `json:"reason"`
	Method      string    `json:"method"`
	Since       time.Time `json:"since"`
	NotBefore   time.Time `json:"not_before"`
	Attempts    int       `json:"attempts,omitempty"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	NextAttempt time.Time `json:"next_attempt"`
	LastError   string    `json:"last_error,omitempty"`
	Unconfirmed bool      `json:"unconfirmed,omitempty"`
}

// newRevocation puts a role's token on its way out. A token that expires within the grace period is
// dealt with at its expiry.
func newRevocation(name string, cred *credential, reason, method string, now time.Time, grace time.Duration) *revocation {
	due := now.Add(grace)
	if !cred.ExpiresAt.IsZero() && cred.ExpiresAt.Before(due) {
		due = later(now, cred.ExpiresAt)
	}
	return &revocation{
		token: cred.token, Role: name, Lineage: cred.Lineage, Version: cred.Version,
		Reason: reason, Method: method, Since: now, NotBefore: due, NextAttempt: due,
	}
}

// method is how a token ends: the engine deletes the service users of managed roles, and those whose
// token it was given to rotate where the admin token may.
func (c *config) method(r *role, t token) string {
	if t.IdentityType != modalapi.IdentityServiceUser {
		return methodManual
	}
	mayDelete := c.Admin != nil && c.Limitation == "" && c.Admin.WorkspaceID == t.WorkspaceID
	if r.Type == typeManaged || mayDelete {
		return methodAutomatic
	}
	return methodManual
}

// key is the entry's ID, in storage and for operators.
func (r *revocation) key() string {
	if r.ID == "" {
		return r.Identity
	}
	return r.ID
}

func (r *revocation) serviceUser() string {
	if r.IdentityType != modalapi.IdentityServiceUser {
		return ""
	}
	return r.Identity
}

// isOf says whether a credential holds the entry's token.
func (r *revocation) isOf(cred *credential) bool {
	switch {
	case cred == nil:
		return false
	case r.ID != "":
		return cred.ID == r.ID
	default:
		return cred.IdentityType == modalapi.IdentityServiceUser && cred.Identity == r.Identity
	}
}

func (r *revocation) due(now time.Time) bool { return !now.Before(r.NextAttempt) }

func (r *revocation) state(now time.Time) string {
	switch {
	case now.Before(r.NotBefore) && r.Reason == reasonUnfinished:
		return reasonUnfinished
	case now.Before(r.NotBefore):
		return stateGrace
	case r.Method == methodManual:
		return stateWaiting
	case r.Unconfirmed:
		return stateUnconfirmed
	case r.Attempts > 0:
		return stateRetrying
	}
	return stateDueNow
}

// tried is the entry after an attempt that did not see the token refused.
func (r revocation) tried(now time.Time, why string) *revocation {
	r.Attempts++
	r.LastAttempt = now
	r.LastError = why
	r.NextAttempt = later(r.NotBefore, now.Add(backOff(r.Attempts)))
	return &r
}

// nextStep tells an operator what is needed.
func (r *revocation) nextStep(now time.Time) string {
	step := r.howToDelete()
	if r.Method == methodAutomatic {
		step = fmt.Sprintf("nothing: the engine deletes service user %q (%s)", r.Identity, r.IdentityID)
		if r.LastError != "" {
			step = fmt.Sprintf("the engine goes on trying to delete service user %q (%s); last_error says what is in its way", r.Identity, r.IdentityID)
		}
	}
	if now.Before(r.NotBefore) {
		return fmt.Sprintf("after %s, %s", r.NotBefore.Format(time.RFC3339), step)
	}
	return step
}

// howToDelete names the page and the command that make Modal refuse the token.
func (t token) howToDelete() string {
	where := tokensPage
	if t.Workspace != "" {
		where += fmt.Sprintf(" (workspace %q)", t.Workspace)
	}
	if t.IdentityType == modalapi.IdentityServiceUser {
		return fmt.Sprintf("delete service user %q (%s) in the settings of workspace %q at Modal: its token %s dies with it",
			t.Identity, t.IdentityID, t.Workspace, t.ID)
	}
	return fmt.Sprintf("delete token %s on %s or with: modal workspace member-tokens delete %s", t.ID, where, t.ID)
}

// describe is all of an entry that may be shown.
func (r *revocation) describe(now time.Time) map[string]any {
	data := r.token.describe()
	if r.ID == "" {
		delete(data, fieldTokenID)
	}
	data[fieldID] = r.key()
	data[fieldRole] = r.Role
	data[fieldVersion] = int64(r.Version)
	data[fieldReason] = r.Reason
	data[fieldMethod] = r.Method
	data[fieldState] = r.state(now)
	data[fieldAttempts] = int64(r.Attempts)
	data[fieldNextStep] = r.nextStep(now)
	putTime(data, fieldSince, r.Since)
	putTime(data, fieldNotBefore, r.NotBefore)
	putTime(data, fieldLastAttempt, r.LastAttempt)
	putTime(data, fieldNextAttempt, r.NextAttempt)
	putText(data, fieldLastError, r.LastError)
	return data
}

// ledger returns all entries, the one due first first.
func (b *backend) ledger(ctx context.Context, s logical.Storage) ([]*revocation, error) {
	ids, err := b.revocations.list(ctx, s)
	if err != nil {
		return nil, err
	}
	var entries []*revocation
	var failed []error
	for _, id := range ids {
		entry, err := b.revocations.get(ctx, s, id)
		if err != nil {
			failed = append(failed, err)
		}
		if entry != nil {
			entries = append(entries, entry)
		}
	}
	slices.SortStableFunc(entries, func(x, y *revocation) int { return x.NextAttempt.Compare(y.NextAttempt) })
	return entries, errors.Join(failed...)
}

// previousTokens are the entries of one role.
func (b *backend) previousTokens(ctx context.Context, s logical.Storage, name string) ([]*revocation, error) {
	entries, err := b.ledger(ctx, s)
	return slices.DeleteFunc(entries, func(entry *revocation) bool { return entry.Role != name }), err
}

// backOff is how long to wait after so many attempts: doubling from a minute to six hours, jittered.
func backOff(attempts int) time.Duration {
	wait := min(firstBackOff<<min(attempts, 10), maxBackOff)
	return wait/2 + jitter(wait/2)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
