// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const (
	// unfinishedAfter is when the worker may end a candidate whose rotation did not end it. It is
	// longer than a rotation can take.
	unfinishedAfter = 10 * time.Minute
	// mintBudget bounds the calls to Modal of one rotation, waiting for a new token included.
	mintBudget = 45 * time.Second
	// briefBudget bounds what is done at Modal on the way out, or whatever becomes of the caller.
	briefBudget = 10 * time.Second
	// mintTries is how many names are tried when Modal says that one is taken.
	mintTries = 3

	firstVerifyWait = 250 * time.Millisecond
	maxVerifyWait   = 5 * time.Second

	maxServiceUserName = 63
)

// candidate is a new service user's token that is no role's yet. Its entry in the ledger ends it unless
// the role's credential comes to hold it.
type candidate struct {
	Token
	entry    *Revocation
	warnings []string
	// asked and received are when the engine asked Modal for the token, and when it received it.
	asked, received time.Time
}

// order is what a service user is made for: the token of a managed role, or a lease of a dynamic one.
type order struct {
	name  string
	role  *Role
	life  time.Duration // zero for a token that does not expire
	lease bool
	// creating notes, for a lease, what this process is creating.
	creating *creating
}

func orderFor(r *Role, name string) order {
	return order{name: name, role: r, life: r.Managed.TokenTTL}
}

// mint makes a service user for a role, gives it its environment roles, and sees Modal accept its
// token as what it should be. Nothing of a failed attempt is left at Modal, or the ledger has it. When
// the caller gives up it ends at once, as a Vault that seals or steps down waits for it. The caller
// holds the lock of the role, or of the lease.
func (e *Engine) mint(ctx context.Context, cfg *Config, o order) (*candidate, error) {
	if err := cfg.permits(o.role); err != nil {
		return nil, err
	}
	a, err := e.admin(cfg)
	if err != nil {
		return nil, err
	}
	defer a.release()
	calls, cancel := context.WithTimeout(ctx, mintBudget)
	defer cancel()
	made, err := e.create(ctx, calls, a, cfg, o)
	if err != nil {
		return nil, err
	}
	if err = e.equip(calls, a, cfg, made, o.role.access()); err != nil {
		e.abandon(ctx, made.entry)
		return nil, fmt.Errorf("the new service user %s was given up: %w", made.Identity, err)
	}
	if told := expiryAsked(o.life, made.Token, e.Now()); told != "" {
		made.warnings = append(made.warnings, told)
		e.log().Warn("another expiry than asked for", "role", o.name, "token_id", made.ID, "warning", told)
	}
	if told := e.tellClock(o.name, made.Token); told != "" {
		made.warnings = append(made.warnings, told)
	}
	return made, nil
}

// create makes the service user under a name that nothing else has. The ledger knows the name before
// Modal does, and the pair as soon as it arrives.
func (e *Engine) create(ctx, calls context.Context, a *admin, cfg *Config, o order) (*candidate, error) {
	for try := 1; ; try++ {
		entry := newUnfinished(o.name, o.role.GenerationID, e.serviceUserName(o.name), cfg, e.Now())
		entry.Leased = o.lease
		if err := e.beginEntry(ctx, o, entry); err != nil {
			return nil, err
		}
		user, asked := entry.Identity, e.deps.Now()
		made, err := a.CreateServiceUser(calls, a.token, modalapi.NewServiceUser{Name: user, Scoped: o.role.access().Scoped, ExpiresIn: o.life})
		if err != nil {
			err = e.notCreated(ctx, a, entry, err)
			if modalapi.KindOf(err) == modalapi.KindExists && try < mintTries {
				continue
			}
			return nil, fmt.Errorf("make service user %s: %w", user, a.explain(err))
		}
		received := e.deps.Now()
		arrived := *entry
		if flaw := made.Flaw(); flaw != "" {
			e.abandon(ctx, &arrived)
			return nil, fmt.Errorf("make service user %s: %w", user, &unusableError{text: "Modal's answer cannot be used: " + flaw + "; try again"})
		}
		arrived.ID, arrived.Secret, arrived.ExpiresAt = made.Token.ID, made.Token.Secret, seconds(made.ExpiresAt)
		arrived.IdentityID = made.ID
		if err = e.arrive(ctx, o, &arrived); err != nil {
			e.abandon(ctx, &arrived)
			return nil, err
		}
		return &candidate{Token: arrived.Token, entry: &arrived, asked: asked, received: received}, nil
	}
}

// notCreated settles the ledger after a failed create. A clear refusal made nothing, and under a name
// that is taken there is somebody else's: the entry goes. Without a clear answer, as of one who is told to
// wait, the service user may exist, now or a moment later: what is found is ended, and the entry stays to
// look again.
func (e *Engine) notCreated(ctx context.Context, a *admin, entry *Revocation, cause error) error {
	if !modalapi.MayBeDone(cause) {
		return errors.Join(cause, e.revocations.Delete(ctx, entry.Key()))
	}
	if user, err := a.findServiceUser(ctx, entry.Identity); err == nil {
		found := *entry
		found.IdentityID = user.ID
		e.abandon(ctx, &found)
	}
	return cause
}

// equip waits until Modal accepts the new token as the service user that was asked for, gives the service user its
// environment roles, and waits until Modal tells them. The identity comes first: an answer to the creation that
// is about another service user must change nobody else's rights.
func (e *Engine) equip(ctx context.Context, a *admin, cfg *Config, made *candidate, access *Access) error {
	identified, granted := false, false
	for waited, wait := time.Duration(0), firstVerifyWait; ; wait = min(2*wait, maxVerifyWait) {
		var err error
		if !identified {
			err = e.identify(ctx, a, cfg, made)
			identified = err == nil
		}
		if err == nil && !granted {
			_, err = setRoles(ctx, a, made.IdentityID, access.EnvironmentRoles)
			granted = err == nil
		}
		if err == nil {
			err = verifyRoles(ctx, a, made, access)
		}
		if err == nil || !worthWaiting(err) || waited+wait > mintBudget || e.deps.Wait(ctx, wait) != nil {
			return err
		}
		waited += wait
	}
}

// expiryAsked tells, "" otherwise, when Modal set another end of a token's life than was asked for.
func expiryAsked(ttl time.Duration, t Token, now time.Time) string {
	switch {
	case ttl == 0 && !t.ExpiresAt.IsZero():
		return fmt.Sprintf("no token_ttl was asked for, and Modal lets the token expire on %s: the engine rotates before", t.ExpiresAt.Format(time.RFC3339))
	case ttl != 0 && t.ExpiresAt.IsZero():
		return fmt.Sprintf("token_ttl %s was asked for, and Modal says that the token does not expire", Human(ttl))
	case ttl != 0 && (t.life(now)-ttl).Abs() > max(time.Minute, ttl/20):
		return fmt.Sprintf("token_ttl %s was asked for, and Modal lets the token expire on %s", Human(ttl), t.ExpiresAt.Format(time.RFC3339))
	}
	return ""
}

// tellClock logs and returns, "" for clocks that agree, that the node's clock differs from Modal's, by a token that
// Modal has just created.
func (e *Engine) tellClock(role string, t Token) string {
	told := t.clockWarning()
	if told != "" {
		e.log().Warn("this node's clock differs from modal's", "role", role, "token_id", t.ID, "warning", told)
	}
	return told
}

// worthWaiting are the answers that a new token may get in its first seconds.
func worthWaiting(err error) bool {
	if unusable := (*unusableError)(nil); errors.As(err, &unusable) {
		return unusable.passing
	}
	kind := modalapi.KindOf(err)
	return kind == modalapi.KindUnavailable || kind == modalapi.KindNotFound
}

// unusableError is a new service user that is not what was asked for, or not yet.
type unusableError struct {
	text    string
	passing bool
}

func (e *unusableError) Error() string { return e.text }

func mismatch(field, want, got string, passing bool) error {
	return &unusableError{
		passing: passing,
		text: fmt.Sprintf("Modal accepts the new token with another %s than it should have: want %s, got %s",
			field, modalapi.Redact(want), modalapi.Redact(got)),
	}
}

// identify asks Modal with the new token whose it is. If the token belongs to another service user, the revocation
// forgets it: the engine then deletes the service user that it asked for, by its name, and no other.
func (e *Engine) identify(ctx context.Context, a *admin, cfg *Config, made *candidate) error {
	who, err := a.WhoAmI(ctx, made.pair())
	if modalapi.KindOf(err) == modalapi.KindRefused {
		return &unusableError{text: "Modal does not accept the new token: " + modalapi.Said(err), passing: true}
	}
	if err != nil {
		return fmt.Errorf("verify the new token: %w", err)
	}
	for _, check := range []struct{ field, want, got string }{
		{"workspace", cfg.Admin.WorkspaceID, who.WorkspaceID},
		{"identity type", string(modalapi.IdentityServiceUser), string(who.Kind)},
		{"service user name", made.Identity, who.Name},
		{"service user", made.IdentityID, who.ID},
	} {
		if check.want != check.got {
			made.entry = made.entry.withoutToken()
			return mismatch(check.field, check.want, check.got, false)
		}
	}
	made.CreatedAt, made.LastVerified = seconds(who.CreatedAt), e.Now()
	made.WorkspaceID, made.Workspace = who.WorkspaceID, who.WorkspaceName
	if told := seconds(who.ExpiresAt); !told.IsZero() && (made.ExpiresAt.IsZero() || told.Before(made.ExpiresAt)) {
		made.ExpiresAt = told
	}
	made.Token = made.createdBetween(made.asked, made.received)
	if !made.ExpiresAt.IsZero() && made.life(e.Now()) <= 0 {
		return &unusableError{text: fmt.Sprintf("Modal says that the new token expired at %s, before Modal created it", made.ExpiresAt.Format(time.RFC3339))}
	}
	confirmed := *made.entry
	confirmed.Token = made.Token
	made.entry = &confirmed
	return nil
}

// withoutToken returns the revocation without the token and ID that Modal's answer brought: only the service user's name
// stays.
func (r Revocation) withoutToken() *Revocation {
	r.Token = Token{
		IdentityType: r.IdentityType, Identity: r.Identity, WorkspaceID: r.WorkspaceID, Workspace: r.Workspace,
		ServerURL: r.ServerURL, Made: r.Made,
	}
	return &r
}

// abandon tries to end a candidate at once, by the ID of its service user where that arrived: Modal may
// not know a new one by name yet. What does not work stays in the ledger, due now.
func (e *Engine) abandon(ctx context.Context, entry *Revocation) {
	due := entry.dueNow(e.Now())
	due.Begun = true
	err := e.abandonLocked(ctx, due)
	if err != nil {
		e.log().Warn("a service user that is not needed is left to the ledger", "service_user", due.Identity, "error", err)
	}
}

func (e *Engine) abandonLocked(ctx context.Context, due *Revocation) error {
	if due.Leased {
		unlock, err := e.lockLease(context.WithoutCancel(ctx), due.Key())
		if err != nil {
			return err
		}
		defer unlock()
	}
	err := e.revocations.Put(ctx, due.Key(), due)
	if ctx.Err() != nil {
		return err
	}
	brief, cancel := context.WithTimeout(ctx, briefBudget)
	defer cancel()
	_, _, failed := e.attendLocked(brief, due, onRequest)
	return errors.Join(err, failed)
}

// serviceUserName is fresh and random, and tells mount and role: two mounts in one workspace never
// take each other's for their own. Modal's names are lower case with - and _.
func (e *Engine) serviceUserName(role string) string {
	prefix := e.namePrefix()
	suffix := "-" + strings.ToLower(rand.Text()[:8])
	role = strings.ReplaceAll(role, ".", "-")
	return prefix + role[:min(len(role), maxServiceUserName-len(prefix)-len(suffix))] + suffix
}

// namePrefix begins the name of every service user that this mount makes.
func (e *Engine) namePrefix() string { return "vault-" + e.deps.MountID + "-" }
