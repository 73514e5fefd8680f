// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"regexp"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// madeByMount is how every mount names the service users that it makes.
var madeByMount = regexp.MustCompile(`^vault-[0-9a-f]{8}-.+-[a-z0-9]{8}$`)

// rotateStatic replaces the token by one that an operator brings and Modal accepts as the same
// identity's. The caller holds the role's lock.
func (e *Engine) rotateStatic(ctx context.Context, now *Rotation, ask RotateRequest) (*Turnover, error) {
	pair, err := ask.broughtTo(now, e.mount())
	if err != nil {
		return nil, err
	}
	if pair.ID == now.Cred.ID {
		return e.rotateToSame(ctx, now, pair, ask.Verify)
	}
	next, err := e.successor(ctx, now, pair, ask)
	if err != nil {
		return nil, err
	}
	done, err := e.replace(ctx, now, next, reasonRotated, ask.graceOr(now.Role.GracePeriod))
	if err != nil {
		return nil, err
	}
	done.Warnings = slices.Concat(ask.Warnings, next.warnings(), done.Warnings, next.oneMount(now.Role))
	return done, nil
}

// broughtTo is the pair that an operator brings to a static role.
func (ask RotateRequest) broughtTo(now *Rotation, mount string) (modalapi.Token, error) {
	if ask.Pair == nil {
		return modalapi.Token{}, Refusef("role %s is static, so a person makes its tokens: approve one in a browser with: vault write -f %srotate/%s/approval; "+
			"or make one at %s, then: vault write %srotate/%s token_id=… token_secret=-; nothing was changed",
			now.Name, mount, now.Name, tokensPage, mount, now.Name)
	}
	return *ask.Pair, nil
}

// successor is the token that a supplied pair stands for, when a role may rotate to it.
func (e *Engine) successor(ctx context.Context, now *Rotation, pair modalapi.Token, ask RotateRequest) (Token, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return Token{}, err
	}
	supplied := unproven(pair, cfg.ServerURL)
	if err = e.refuseHeld(ctx, supplied, now.Name, ask.Verify); err != nil {
		return Token{}, err
	}
	if !now.empty() && !now.Cred.Verified() && !ask.Force {
		return Token{}, Refusef("the role's token %s was stored unproven, so nothing says whose the next one has to be: "+
			"prove it first (vault write %sroles/%s token_id=%s token_secret=-), or write force=true to take token %s as it is; nothing was changed",
			now.Cred.ID, e.mount(), now.Name, now.Cred.ID, pair.ID)
	}
	next, err := e.acceptWithin(ctx, cfg, supplied, ask.Verify)
	if err != nil {
		return Token{}, err
	}
	if !next.sameOwner(now.Cred.Token) && !ask.Force {
		return Token{}, Refusef("token %s is of %s, but the role's token is of %s: bring a token of the same, or write force=true to change it "+
			"(a service user has one token for life, so its next token is always another one's); nothing was changed",
			next.ID, next.owner(), now.Cred.owner())
	}
	return next, next.refuseMade(ask.Force)
}

// refuseMade refuses the token of a service user that an engine made, this mount's or another's: that
// engine ends it.
func (t Token) refuseMade(force bool) error {
	if force || t.IdentityType != modalapi.IdentityServiceUser || !madeByMount.MatchString(t.Identity) {
		return nil
	}
	return Refusef("token %s belongs to service user %q, which a mount of this engine made, as its name says, and will delete: "+
		"bring another token, or write force=true to take it all the same; nothing was changed", t.ID, t.Identity)
}

// rotateToSame answers a repeated request as the first one, and takes the right secret for a token
// that was stored unproven with a wrong one.
func (e *Engine) rotateToSame(ctx context.Context, now *Rotation, pair modalapi.Token, verify bool) (*Turnover, error) {
	if now.Cred.pair() == pair {
		return &Turnover{Cred: now.Cred}, nil
	}
	proven, err := e.proveSame(ctx, now, pair, verify)
	if err != nil {
		return nil, err
	}
	cred := now.Cred.successor(now.Role, proven, e.Now())
	if err = e.hold(ctx, proven, now.Name, func() error { return e.credentials.Put(ctx, now.Name, cred) }); err != nil {
		return nil, err
	}
	return &Turnover{Changed: true, Cred: cred}, nil
}

// proveSame asks Modal about the current token with another secret.
func (e *Engine) proveSame(ctx context.Context, now *Rotation, pair modalapi.Token, verify bool) (Token, error) {
	if !verify {
		return Token{}, Refusef("token %s is the role's current token, with another secret: a token has one secret, so let Modal decide with verify=true; nothing was changed", pair.ID)
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return Token{}, err
	}
	supplied := unproven(pair, now.Cred.ServerURL)
	if err = e.refuseHeld(ctx, supplied, now.Name, verify); err != nil {
		return Token{}, err
	}
	return e.acceptWithin(ctx, cfg, supplied, verify)
}
