// SPDX-License-Identifier: MPL-2.0

package engine

import (
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
	v, err := e.askAbout(ctx, cfg, now)
	if err != nil {
		return nil, fmt.Errorf("could not learn whether Modal accepts token %s of role %s: %w; nothing was changed, try again", now.Cred.ID, name, err)
	}
	return v, e.noteVerification(ctx, now, v)
}

// askAbout asks Modal whose the current token is, and of a managed role what it may do. The caller holds
// the role's lock.
func (e *Engine) askAbout(ctx context.Context, cfg *Config, now *Rotation) (*Verification, error) {
	v := &Verification{Token: now.Cred.Token, Version: now.Cred.Version}
	proven, err := e.prove(ctx, cfg, now.Cred.Token)
	if modalapi.KindOf(err) == modalapi.KindRefused {
		v.Said, v.Next = modalapi.Said(err), e.afterRefusal(now)
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	v.Accepted, v.Token, v.Next = true, proven, "nothing"
	if now.Role.Managed != nil {
		e.askRoles(ctx, cfg, now, v)
	}
	return v, nil
}

// askRoles compares the service user's environment roles with the role's. That they cannot be read is a
// warning: the token is accepted.
func (e *Engine) askRoles(ctx context.Context, cfg *Config, now *Rotation, v *Verification) {
	err := e.reaches(cfg, now.Cred.Token)
	var a *admin
	if err == nil {
		a, err = e.admin(cfg)
	}
	if err == nil {
		defer a.release()
		var user modalapi.ServiceUser
		if user, err = a.ServiceUser(ctx, a.token, now.Cred.Identity); err == nil {
			v.Roles = user.Roles
			if v.Drifted = rolesText(user.Roles) != rolesText(now.Role.Managed.EnvironmentRoles); v.Drifted {
				v.Next = fmt.Sprintf("nothing: the engine sets the role's environment_roles (%s) again within a minute or so", rolesText(now.Role.Managed.EnvironmentRoles))
			}
			return
		}
		err = a.explain(err)
	}
	v.Warnings = append(v.Warnings, fmt.Sprintf("what service user %s may do is not known: %s", now.Cred.Identity, err))
}

// afterRefusal is what heals a role whose token Modal refuses.
func (e *Engine) afterRefusal(now *Rotation) string {
	if now.Role.Managed != nil && !now.Role.Managed.Disabled {
		return "nothing: the engine rotates the role within a minute or so; at once with: " + e.rotateCommand(now.Role, now.Name)
	}
	return "replace the token with: " + e.rotateCommand(now.Role, now.Name)
}

// noteVerification stores what consumers do not see. A managed role whose token is refused is due.
func (e *Engine) noteVerification(ctx context.Context, now *Rotation, v *Verification) error {
	after := *now.Cred
	after.Checked, after.Drifted = e.Now(), v.Drifted
	switch {
	case v.Accepted:
		after.Refused = time.Time{}
	case after.Refused.IsZero():
		after.Refused = e.Now()
		e.log().Error("modal refuses a role's current token", "role", now.Name, "type", now.Role.Type, "version", now.Cred.Version, "token_id", now.Cred.ID, "modal_said", v.Said)
		e.event(ctx, Event{Kind: EventTokenRejected, Role: now.Name, Version: now.Cred.Version, TokenID: now.Cred.ID})
	}
	return e.credentials.Put(ctx, now.Name, &after)
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
	last := later(r.Cred.Checked, later(r.Cred.LastVerified, r.Cred.LastRotation))
	if last.After(now.Add(clockSlack)) { // by a clock far ahead
		return now
	}
	return last.Add(spread(interval-checkAhead, r.Name))
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
			if now.Cred.Drifted {
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
	if at := cfg.checkAt(now, e.Now()); !now.Cred.Drifted && (at.IsZero() || at.After(e.Now())) {
		return nil
	}
	v, err := e.askAbout(ctx, cfg, now)
	if err != nil {
		return e.notVerified(now, "a role's token could not be verified", err)
	}
	// That Modal accepts the token is news in any case. A node that leads no more cannot write that, and sets no
	// roles of a policy that is not the role's any more.
	if err = e.noteVerification(ctx, now, v); err != nil || !v.Drifted {
		return err
	}
	if err = e.setAgain(ctx, cfg, now, v); err != nil {
		return e.notVerified(now, "environment roles had drifted and could not be set again", err)
	}
	return e.noteVerification(ctx, now, v)
}

// notVerified has Modal asked again a little later.
func (e *Engine) notVerified(now *Rotation, what string, why error) error {
	if isStorageError(why) {
		return why
	}
	e.log().Warn(what, "role", now.Name, "token_id", now.Cred.ID, "error", why)
	e.postponeCheck(now.Name)
	return nil
}

// setAgain gives a service user the environment roles that somebody else took or added.
func (e *Engine) setAgain(ctx context.Context, cfg *Config, now *Rotation, v *Verification) error {
	if err := cfg.permits(now.Role); err != nil {
		return err
	}
	wanted := now.Role.Managed.EnvironmentRoles
	if err := e.grant(ctx, cfg, now.Cred.Token, exactly(wanted)); err != nil {
		return err
	}
	e.log().Warn("environment roles had drifted and were set again", "role", now.Name, "service_user", now.Cred.Identity,
		"environment_roles", rolesText(wanted), "environment_roles_before", rolesText(v.Roles))
	v.Drifted = false
	return nil
}
