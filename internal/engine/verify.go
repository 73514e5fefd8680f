// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// refusedCheck is how often Modal is asked about a token that it refused.
const refusedCheck = time.Hour

// checkAhead is how much of an interval is left for the tick that asks: it may be a minute off, and takes most of
// another one.
const checkAhead = 2 * time.Minute

// Verification is what Modal says of a role's current token.
type Verification struct {
	Accepted bool
	// Token is the current one, with what Modal said of it now where it accepts it.
	Token   Token
	Version int
	// Roles are the environment roles of a managed role's service user, nil where they are not known.
	Roles map[string]modalapi.EnvironmentRole
	// Drifted says that they are not those of the role.
	Drifted bool
	// LastUsed is when Modal saw the token used last, before it was verified; zero where Modal does not tell.
	LastUsed time.Time
	// Said is why Modal refuses it, and Next what comes next.
	Said, Next string
	Warnings   []string
}

// Verify asks Modal about a role's current token now. A refusal is an answer: the worker heals at its next
// tick.
func (e *Engine) Verify(ctx context.Context, name string) (*Verification, error) {
	unlock, err := e.lockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	now, err := e.rotation(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case now == nil:
		return nil, Refusef("%s", e.NoSuchRole(ctx, name, ""))
	case now.Role.Dynamic != nil:
		return nil, e.refuseDynamic(now.Role, name)
	case now.empty():
		return nil, Refusef("role %s has no token yet: an operator %s", name, e.firstToken(name))
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	used := e.lastUsed(ctx, cfg, now) // before the engine itself uses the token
	v, err := e.askAbout(ctx, cfg, now)
	if err != nil {
		return nil, fmt.Errorf("could not learn whether Modal accepts token %s of role %s: %w; nothing was changed, try again", now.Cred.ID, name, err)
	}
	v.LastUsed = used
	return v, e.noteVerification(ctx, now, v)
}

// askAbout asks Modal whose the current token is, and of a managed role what it may do. The caller holds
// the role's lock.
func (e *Engine) askAbout(ctx context.Context, cfg *Config, now *Rotation) (*Verification, error) {
	v := &Verification{Token: now.Cred.Token, Version: now.Cred.Version}
	proven, err := e.prove(ctx, cfg, now.Cred.Token)
	if modalapi.KindOf(err) == modalapi.KindRefused {
		v.Said, v.Next = modalapi.Said(err), e.afterRejection(cfg, now)
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	v.Accepted, v.Token, v.Next = true, proven, "nothing to do: Modal accepts the token"
	if now.Role.Managed != nil {
		e.askRoles(ctx, cfg, now, v)
	}
	return v, nil
}

// askRoles compares the service user's environment roles with the role's. If they cannot be read, that is a
// warning: the token is accepted.
func (e *Engine) askRoles(ctx context.Context, cfg *Config, now *Rotation, v *Verification) {
	a, user, err := e.ownerOf(ctx, cfg, now.Cred.Token)
	if err != nil {
		v.Token.ExpiresAt = cmp.Or(v.Token.ExpiresAt, now.Cred.ExpiresAt) // one answer without an expiry is not enough to forget one
		v.Warnings = append(v.Warnings, fmt.Sprintf("what service user %s may do is not known: %s", now.Cred.Identity, err))
		return
	}
	a.release()
	v.Roles = user.Roles
	if told := seconds(user.ExpiresAt); !told.IsZero() && (v.Token.ExpiresAt.IsZero() || told.Before(v.Token.ExpiresAt)) {
		v.Token.ExpiresAt = told
	}
	if v.Drifted = rolesText(user.Roles) != rolesText(now.Role.Managed.EnvironmentRoles); v.Drifted {
		v.Next = e.WhilePaused(cfg, fmt.Sprintf("nothing to do: the engine sets the role's environment_roles (%s), as far as config allows them, within a minute or so",
			rolesText(now.Role.Managed.EnvironmentRoles)))
	}
}

// lastUsed is when Modal saw a role's current token used last, zero where Modal does not tell.
func (e *Engine) lastUsed(ctx context.Context, cfg *Config, now *Rotation) time.Time {
	brief, cancel := context.WithTimeout(ctx, lastUsedBudget)
	defer cancel()
	switch now.Cred.IdentityType {
	case modalapi.IdentityServiceUser:
		a, user, err := e.ownerOf(brief, cfg, now.Cred.Token)
		if err != nil {
			return time.Time{}
		}
		a.release()
		return seconds(user.LastUsedAt)
	case modalapi.IdentityUser:
		return e.memberLastUsed(brief, cfg, now.Cred.Token)
	}
	return time.Time{}
}

// memberLastUsed asks with the admin token when a member's token was used last. The token itself is not asked: that
// would be a use.
func (e *Engine) memberLastUsed(ctx context.Context, cfg *Config, t Token) time.Time {
	if cfg.Admin == nil || !cfg.Admin.Verified() || cfg.reaches(t) != nil {
		return time.Time{}
	}
	client, release, err := e.connect(cfg)
	if err != nil {
		return time.Time{}
	}
	defer release()
	tokens, err := client.MemberTokens(ctx, cfg.Admin.pair())
	if err != nil {
		return time.Time{}
	}
	for _, token := range tokens {
		if token.ID == t.ID {
			return seconds(token.LastUsedAt)
		}
	}
	return time.Time{}
}

// afterRejection is the next step for a role whose token Modal rejects.
func (e *Engine) afterRejection(cfg *Config, now *Rotation) string {
	if now.Role.Managed != nil && !now.Role.Managed.Disabled {
		return e.WhilePaused(cfg, "nothing to do: the engine rotates the role within a minute or so") + "; to rotate it now: " + e.rotateCommand(now.Role, now.Name)
	}
	return "replace the token with: " + e.rotateCommand(now.Role, now.Name)
}

// noteVerification stores what Modal said. A managed role whose token is rejected is due. An expiry that Modal tells
// replaces the stored one.
func (e *Engine) noteVerification(ctx context.Context, now *Rotation, v *Verification) error {
	e.handover.Lock() // no other role, and not config, takes the token meanwhile
	defer e.handover.Unlock()
	after := now.Cred
	if v.Accepted {
		after = now.Cred.learned(now.Role, e.worthKeeping(ctx, now, v.Token), e.Now())
		e.learnFromRole(ctx, v.Token)
	}
	after = after.checked(e.Now(), v)
	switch {
	case v.Accepted && !after.ExpiresAt.Equal(now.Cred.ExpiresAt):
		v.Warnings = append(v.Warnings, e.tellExpiry(now, after))
	case !v.Accepted && now.Cred.Refused.IsZero():
		e.log().Error("modal refuses a role's current token", "role", now.Name, "type", now.Role.Type, "version", now.Cred.Version, "token_id", now.Cred.ID, "modal_said", v.Said)
		e.event(ctx, Event{Kind: EventTokenRejected, Role: now.Name, Version: now.Cred.Version, TokenID: now.Cred.ID, Account: now.Cred.Account()})
	}
	return e.credentials.Put(ctx, now.Name, after)
}

// worthKeeping is the current token with the news of a verification. The owner of a lease's token that was brought with
// verify=false is not noted: the token ends with its lease, and is no reference for the next one. A token that another
// role or config has brought verified stays unverified here, also while it waits in the revocation queue for its end.
// The caller holds e.handover.
func (e *Engine) worthKeeping(ctx context.Context, now *Rotation, proven Token) Token {
	after := now.Cred.Token
	if !after.Verified() && e.refuseLeased(ctx, proven) == nil && e.refuseHeld(ctx, proven, now.Name, true) == nil && !e.isQueued(ctx, proven.ID) {
		e.log().Info("a token that was stored with verify=false is verified", "role", now.Name, "token_id", proven.ID, "workspace", proven.Workspace, "identity", proven.Identity)
		after = proven
	}
	after.CreatedAt, after.ExpiresAt = cmp.Or(after.CreatedAt, proven.CreatedAt), proven.ExpiresAt
	return after
}

// tellExpiry logs and returns that Modal tells another expiry than the stored one.
func (e *Engine) tellExpiry(now *Rotation, after *Credential) string {
	known, told := now.Cred.ExpiresAt, after.ExpiresAt
	e.log().Warn("modal reports another expiry", "role", now.Name, "token_id", after.ID, "expires_at", told, "expires_at_before", known, "next_rotation", after.NextRotation)
	text := fmt.Sprintf("Modal says that token %s expires %s, and the engine knew that it expires %s", after.ID, expiresText(told), expiresText(known))
	switch {
	case !after.NextRotation.IsZero():
		return fmt.Sprintf("%s: the engine rotates the role at %s", text, after.NextRotation.Format(time.RFC3339))
	case told.IsZero():
		return text
	}
	return fmt.Sprintf("%s: replace it before that with: %s", text, e.rotateCommand(now.Role, now.Name))
}

// expiresText is an expiry in a sentence.
func expiresText(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return "on " + at.Format(time.RFC3339)
}

// checkAt is when the engine asks about a role's token by itself, zero for never. It lies in the last
// quarter of the interval, so that roles of one moment spread, and soon enough for the tick that asks.
func (c *Config) checkAt(r *Rotation, now time.Time) time.Time {
	interval := c.VerificationEvery()
	if interval == 0 || r.empty() {
		return time.Time{}
	}
	if r.Refused { // a person may have enabled it again
		interval = min(interval, refusedCheck)
	}
	last := lastKnown(now, r.Cred.Checked, r.Cred.LastVerified, r.Cred.LastRotation)
	if last.IsZero() {
		return now
	}
	return last.Add(spread(interval-checkAhead, r.Name))
}

// lastKnown is when a token was last known to work: when it was checked, or before that. It is zero if that has to be
// asked now. A time further ahead than clocks may differ was written by a clock that ran far ahead, and is ignored.
func lastKnown(now, checked time.Time, before ...time.Time) (last time.Time) {
	possible := func(at time.Time) bool { return !at.After(now.Add(clockSlack)) }
	if !possible(checked) {
		return time.Time{}
	}
	for _, at := range append(before, checked) {
		if possible(at) {
			last = later(last, at)
		}
	}
	return last
}

// spread is between three quarters of an interval and all of it, always the same for a name.
func spread(interval time.Duration, name string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name)) // never fails
	return interval - time.Duration(int64(interval/4)/1024*int64(hash.Sum32()%1024))
}

// verifyDue asks about the tokens that were not asked about for an interval, and heals what drifted.
func (e *Engine) verifyDue(tick, begin context.Context) error {
	cfg, err := e.loadConfig(begin)
	if err != nil {
		return err
	}
	e.forgetRetries()
	if e.checksEvery != cfg.VerificationEvery() { // all times are others now
		e.dueChecks.reset()
		e.checksEvery = cfg.VerificationEvery()
	}
	due, err := e.dueChecks.due(begin, e.Now(), source{
		list: func(ctx context.Context) ([]string, error) { return e.roles.List(ctx) },
		next: func(ctx context.Context, name string) (time.Time, error) {
			now, failed := e.rotation(ctx, name)
			if failed != nil || now == nil || now.Role.Dynamic != nil {
				return time.Time{}, failed
			}
			if now.toBeSetAgain() {
				return later(e.Now(), e.retryCheck(name)), nil
			}
			return later(cfg.checkAt(now, e.Now()), e.retryCheck(name)), nil
		},
		failed: func(name string, err error) {
			e.log().Error("cannot tell when a role is verified", "role", name, "error", err)
		},
	})
	if begin.Err() != nil {
		return nil //nolint:nilerr // rotations took the time of this tick, and the next one has time again
	}
	return errors.Join(err, e.untilOver(begin, due, maxConcurrentChecks, func(name string) error { return e.verifyOne(tick, begin, cfg, name) }))
}

// verifyOne asks about one role, if it is still due once its lock is held. That Modal does not answer is no
// news of the token: it is asked again a little later.
func (e *Engine) verifyOne(ctx, begin context.Context, cfg *Config, name string) error {
	unlock, err := e.lockRole(begin, name)
	if err != nil {
		return nil // the role is busy, and due at the next tick too
	}
	defer unlock()
	now, err := e.rotation(ctx, name)
	if err != nil || now == nil || now.empty() || now.Role.Dynamic != nil {
		return err
	}
	if at := cfg.checkAt(now, e.Now()); !now.toBeSetAgain() && (at.IsZero() || at.After(e.Now())) {
		return nil
	}
	v, err := e.askAbout(ctx, cfg, now)
	if err != nil {
		return e.notVerified(now, "a role's token could not be verified", err)
	}
	// That Modal accepts the token is news in any case. A node that leads no more cannot write that, and sets no
	// roles of a policy that is not the role's any more.
	if err = e.noteVerification(ctx, now, v); err != nil || !v.Accepted || (!v.Drifted && !now.Cred.Drifted) {
		return err
	}
	if err = e.setAgain(ctx, cfg, now, v); err != nil {
		return e.notVerified(now, "environment roles differ and could not be set again", err)
	}
	return e.rolesAreSet(ctx, name)
}

// toBeSetAgain reports whether the worker sets the environment roles of the role again. While Modal rejects the
// token, another one is to come first.
func (r *Rotation) toBeSetAgain() bool { return r.Cred.Drifted && !r.Refused }

// notVerified has Modal asked again a little later.
func (e *Engine) notVerified(now *Rotation, what string, why error) error {
	if isStorageError(why) {
		return why
	}
	e.log().Warn(what, "role", now.Name, "token_id", now.Cred.ID, "error", why)
	e.postponeCheck(now.Name)
	return nil
}

// setAgain gives the role's tokens the rights of the role, as far as config allows them. Somebody else took or added
// rights, or Modal did not show a write. Previous tokens only lose rights. An error says why the roles still differ.
func (e *Engine) setAgain(ctx context.Context, cfg *Config, now *Rotation, v *Verification) error {
	roles := now.Role.Managed.EnvironmentRoles
	wanted := cfg.within(roles)
	previous, err := e.previousTokens(ctx, now.Name)
	if err != nil {
		return err
	}
	current := roleChange{want: exactly(wanted)}
	if !v.Drifted { // a write, which Modal did not show, has set them
		current.always = allOf(wanted)
	}
	changed, err := e.change(ctx, cfg, now.Cred.Token, current)
	if err != nil {
		return e.mendGone(err, now.Name)
	}
	set, kept := e.narrowPrevious(ctx, cfg, now.Cred, previous, roleChange{want: atMost(wanted)})
	if changed {
		set = append(set, changedUser{token: now.Cred.Token, want: current.want})
	}
	if changed && v.Drifted {
		e.log().Warn("environment roles differed and were set again", "role", now.Name, "service_user", now.Cred.Identity,
			"environment_roles", rolesText(wanted), "environment_roles_before", rolesText(v.Roles))
	}
	for _, user := range e.readBack(ctx, cfg, set) {
		kept = append(kept, Refusef("%s", user.notShown()))
	}
	return errors.Join(append(kept, cfg.permits(now.Role))...)
}

// rolesAreSet stores that the tokens of a role have the rights of the role. The caller holds the role's lock.
func (e *Engine) rolesAreSet(ctx context.Context, name string) error {
	cred, err := e.credentials.Get(ctx, name)
	if err != nil || cred == nil {
		return err
	}
	after := *cred
	after.Drifted = false
	return e.credentials.Put(ctx, name, &after)
}
