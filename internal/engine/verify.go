// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Verifier asks Modal at intervals whether current tokens still work.
type Verifier struct {
	mount      *state.Mount
	owners     *state.Owners
	workspaces *state.Workspaces
	rights     *rights

	mu sync.Mutex
	// interval is the verification_interval that the times in DueVerifications were computed with.
	interval time.Duration
	// retries are the times before which Modal is not asked again about tokens that it did not answer about, by role.
	retries map[string]time.Time
}

// Verify asks Modal about a role's current token now. A rejection is an answer and no error. The worker then repairs
// the role at its next tick.
func (vf *Verifier) Verify(ctx context.Context, name string) (*model.Verification, error) {
	unlock, err := vf.mount.LockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	rotation, err := vf.mount.Rotation(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case rotation == nil:
		return nil, model.UserErrorf("%s", vf.mount.NoSuchRole(ctx, name, ""))
	case rotation.Role.Dynamic != nil:
		return nil, vf.mount.CheckNotDynamic(rotation.Role, name)
	case rotation.HasNoToken():
		return nil, model.UserErrorf("role %s has no token yet: an operator %s", name, vf.mount.FirstToken(name))
	}
	cfg, err := vf.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	used := vf.lastUsed(ctx, cfg, rotation) // before the engine itself uses the token
	v, err := vf.ask(ctx, cfg, rotation)
	if err != nil {
		return nil, fmt.Errorf("the engine could not find out whether Modal accepts token %s of role %s: %w; nothing was changed: try again", rotation.Cred.ID, name, err)
	}
	v.LastUsed = used
	return v, vf.record(ctx, rotation, v)
}

// ask asks Modal who owns the current token, and for a managed role also which rights it has. The caller holds the
// role's lock.
func (vf *Verifier) ask(ctx context.Context, cfg *model.Config, rotation *model.Rotation) (*model.Verification, error) {
	v := &model.Verification{Token: rotation.Cred.Token, Version: rotation.Cred.Version}
	proven, err := vf.mount.Verify(ctx, cfg, rotation.Cred.Token)
	if modalapi.KindOf(err) == modalapi.KindRefused {
		v.Reason, v.NextStep = modalapi.Said(err), vf.afterRejection(cfg, rotation)
		return v, nil
	}
	if err != nil {
		return nil, err
	}
	v.Accepted, v.Token, v.NextStep = true, proven, "nothing to do: Modal accepts the token"
	if rotation.Role.Managed != nil {
		vf.askRoles(ctx, cfg, rotation, v)
	}
	return v, nil
}

// askRoles compares the service user's environment roles with the role's. If it cannot read them, it adds a warning,
// because Modal accepts the token anyway.
func (vf *Verifier) askRoles(ctx context.Context, cfg *model.Config, rotation *model.Rotation, v *model.Verification) {
	a, user, err := vf.rights.serviceUserOf(ctx, cfg, rotation.Cred.Token)
	if err != nil {
		v.Token.ExpiresAt = cmp.Or(v.Token.ExpiresAt, rotation.Cred.ExpiresAt) // an answer without an expiry does not remove a known expiry
		v.Warnings = append(v.Warnings, fmt.Sprintf("the environment roles of service user %s could not be read: %s", rotation.Cred.Identity, err))
		return
	}
	a.Release()
	v.Roles = user.Roles
	if reported := model.WholeSeconds(user.ExpiresAt); !reported.IsZero() && (v.Token.ExpiresAt.IsZero() || reported.Before(v.Token.ExpiresAt)) {
		v.Token.ExpiresAt = reported
	}
	if v.RolesDiffer = model.RolesText(user.Roles) != model.RolesText(rotation.Role.Managed.EnvironmentRoles); v.RolesDiffer {
		v.NextStep = vf.mount.NotePausedIn(cfg, fmt.Sprintf("nothing to do: the engine sets the role's environment_roles (%s), as far as config allows them, within a minute or so",
			model.RolesText(rotation.Role.Managed.EnvironmentRoles)))
	}
}

// lastUsed returns when a role's current token was last used, or zero if Modal does not tell.
func (vf *Verifier) lastUsed(ctx context.Context, cfg *model.Config, rotation *model.Rotation) time.Time {
	brief, cancel := context.WithTimeout(ctx, revocation.LastUsedBudget)
	defer cancel()
	switch rotation.Cred.IdentityType {
	case modalapi.IdentityServiceUser:
		a, user, err := vf.rights.serviceUserOf(brief, cfg, rotation.Cred.Token)
		if err != nil {
			return time.Time{}
		}
		a.Release()
		return model.WholeSeconds(user.LastUsedAt)
	case modalapi.IdentityUser:
		return vf.memberLastUsed(brief, cfg, rotation.Cred.Token)
	}
	return time.Time{}
}

// memberLastUsed asks with the admin token when a member token was last used. It does not call Modal with the member
// token, because that would count as a use.
func (vf *Verifier) memberLastUsed(ctx context.Context, cfg *model.Config, t model.Token) time.Time {
	if cfg.Admin == nil || !cfg.Admin.Verified() || cfg.CheckReach(t) != nil {
		return time.Time{}
	}
	client, release, err := vf.mount.Connect(cfg)
	if err != nil {
		return time.Time{}
	}
	defer release()
	tokens, err := client.MemberTokens(ctx, cfg.Admin.APIToken())
	if err != nil {
		return time.Time{}
	}
	for _, token := range tokens {
		if token.ID == t.ID {
			return model.WholeSeconds(token.LastUsedAt)
		}
	}
	return time.Time{}
}

// afterRejection tells an operator what to do about a role whose token Modal rejects.
func (vf *Verifier) afterRejection(cfg *model.Config, rotation *model.Rotation) string {
	if rotation.Role.Managed != nil && !rotation.Role.Managed.Disabled {
		return vf.mount.NotePausedIn(cfg, "nothing to do: the engine rotates the role within a minute or so") + "; to rotate it now: " + vf.mount.Commands().ReplaceToken(rotation.Role, rotation.Name)
	}
	return "replace the token with: " + vf.mount.Commands().ReplaceToken(rotation.Role, rotation.Name)
}

// record stores Modal's answer. A managed role whose token is rejected becomes due. An expiry that Modal reports
// replaces the stored one.
func (vf *Verifier) record(ctx context.Context, rotation *model.Rotation, v *model.Verification) error {
	vf.owners.AssignMu.Lock() // no other role, and not config, takes the token meanwhile
	defer vf.owners.AssignMu.Unlock()
	after := rotation.Cred
	if v.Accepted {
		after = rotation.Cred.WithVerifiedToken(rotation.Role, vf.tokenToStore(ctx, rotation, v.Token), vf.mount.Now(), vf.mount.Jitter)
		vf.workspaces.LearnFromRole(ctx, v.Token)
	}
	after = after.WithVerification(vf.mount.Now(), v)
	switch {
	case v.Accepted && !after.ExpiresAt.Equal(rotation.Cred.ExpiresAt):
		v.Warnings = append(v.Warnings, vf.expiryWarning(ctx, rotation, after))
	case !v.Accepted && rotation.Cred.RejectedSince.IsZero():
		vf.mount.Log().Error("modal rejects a role's current token", "role", rotation.Name, "type", rotation.Role.Type, "version", rotation.Cred.Version, "token_id", rotation.Cred.ID, "modal_said", v.Reason)
		vf.mount.Publish(ctx, model.Event{Kind: model.EventTokenRejected, Role: rotation.Name, Version: rotation.Cred.Version, TokenID: rotation.Cred.ID, Account: rotation.Cred.Account()})
	}
	return vf.mount.Credentials.Put(ctx, rotation.Name, after)
}

// tokenToStore returns the current token with the facts that a verification found. Two kinds of tokens stay
// unverified. A lease's token that an operator brought with verify=false ends with its lease and is no reference for
// the next token. A token may also be verified in another role, in config or in the revocation queue. The caller
// holds Owners.AssignMu.
func (vf *Verifier) tokenToStore(ctx context.Context, rotation *model.Rotation, proven model.Token) model.Token {
	after := rotation.Cred.Token
	if !after.Verified() && vf.owners.CheckNotLeased(ctx, proven) == nil && vf.owners.CheckFree(ctx, proven, rotation.Name, true) == nil && !vf.owners.IsQueued(ctx, proven.ID) {
		vf.mount.Log().Info("a token that was stored with verify=false is verified", "role", rotation.Name, "token_id", proven.ID, "workspace", proven.Workspace, "identity", proven.Identity)
		after = proven
	}
	after.CreatedAt, after.ExpiresAt = cmp.Or(after.CreatedAt, proven.CreatedAt), proven.ExpiresAt
	return after
}

// expiryWarning logs that Modal reports another expiry than the stored one, and returns the warning.
func (vf *Verifier) expiryWarning(ctx context.Context, rotation *model.Rotation, after *model.Credential) string {
	known, reported := rotation.Cred.ExpiresAt, after.ExpiresAt
	vf.mount.Log().Warn("modal reports another expiry", "role", rotation.Name, "token_id", after.ID, "expires_at", reported, "expires_at_before", known, "next_rotation", after.NextRotation)
	text := fmt.Sprintf("Modal says that token %s expires %s, but the engine had stored that it expires %s", after.ID, expiresText(reported), expiresText(known))
	switch {
	case !after.NextRotation.IsZero():
		return vf.mount.NotePaused(ctx, fmt.Sprintf("%s: the engine rotates the role at %s", text, after.NextRotation.Format(time.RFC3339)))
	case reported.IsZero():
		return text
	}
	return fmt.Sprintf("%s: replace it before that with: %s", text, vf.mount.Commands().ReplaceToken(rotation.Role, rotation.Name))
}

// expiresText returns an expiry as words in a sentence.
func expiresText(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return "on " + at.Format(time.RFC3339)
}
