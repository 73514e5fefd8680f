// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// madeByMount is how every mount names the service users that it makes.
var madeByMount = regexp.MustCompile(`^vault-[0-9a-f]{8}-.+-[a-z0-9]{8}$`)

// rotateStatic replaces the token by one that an operator brings and Modal accepts as the same
// identity's. The caller holds the role's lock.
func (b *backend) rotateStatic(ctx context.Context, now *rotation, ask rotateRequest) (*turnover, error) {
	pair, err := ask.broughtTo(now)
	if err != nil {
		return nil, err
	}
	if pair.ID == now.cred.ID {
		return b.rotateToSame(ctx, now, pair, ask.verify)
	}
	next, err := b.successor(ctx, now, pair, ask)
	if err != nil {
		return nil, err
	}
	done, err := b.replace(ctx, now, next, reasonRotated, ask.graceOr(now.role.GracePeriod))
	if err != nil {
		return nil, err
	}
	done.warnings = slices.Concat(ask.warnings, next.warnings(), done.warnings)
	return done, nil
}

// broughtTo is the pair that an operator brings to a static role.
func (ask rotateRequest) broughtTo(now *rotation) (modalapi.Token, error) {
	if ask.pair == nil {
		return modalapi.Token{}, refusef("role %s is static, so an operator brings its tokens: make one at %s and write its token_id and token_secret here; nothing was changed",
			now.name, tokensPage)
	}
	return *ask.pair, nil
}

// successor is the token that a supplied pair stands for, when a role may rotate to it.
func (b *backend) successor(ctx context.Context, now *rotation, pair modalapi.Token, ask rotateRequest) (Token, error) {
	if err := b.refuseHeld(ctx, pair.ID, now.name); err != nil {
		return Token{}, err
	}
	if !now.cred.verified() && !ask.force {
		return Token{}, refusef("the role's token %s was stored unproven, so nothing says whose the next one has to be: "+
			"prove it first (write it to roles/%s again), or write force=true to take token %s as it is; nothing was changed", now.cred.ID, now.name, pair.ID)
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return Token{}, err
	}
	next, err := b.accept(ctx, cfg, unproven(pair, cfg.ServerURL), ask.verify)
	if err != nil {
		return Token{}, err
	}
	if !next.sameOwner(now.cred.Token) && !ask.force {
		return Token{}, refusef("token %s is of %s, but the role's token is of %s: bring a token of the same, or write force=true to change it "+
			"(a service user has one token for life, so its next token is always another one's); nothing was changed",
			next.ID, next.owner(), now.cred.owner())
	}
	return next, next.refuseMade(ask.force)
}

// refuseMade refuses the token of a service user that an engine made, this mount's or another's: that
// engine ends it.
func (t Token) refuseMade(force bool) error {
	if force || t.IdentityType != modalapi.IdentityServiceUser || !madeByMount.MatchString(t.Identity) {
		return nil
	}
	return refusef("token %s belongs to service user %q, which a mount of this engine made, as its name says, and will delete: "+
		"bring another token, or write force=true to take it all the same; nothing was changed", t.ID, t.Identity)
}

// rotateToSame answers a repeated request as the first one, and takes the right secret for a token
// that was stored unproven with a wrong one.
func (b *backend) rotateToSame(ctx context.Context, now *rotation, pair modalapi.Token, verify bool) (*turnover, error) {
	if now.cred.pair() == pair {
		return &turnover{cred: now.cred, warnings: []string{
			fmt.Sprintf("token %s is the role's current token already (version %d): nothing was changed", pair.ID, now.cred.Version),
		}}, nil
	}
	proven, err := b.proveSame(ctx, now, pair, verify)
	if err != nil {
		return nil, err
	}
	cred := now.cred.successor(now.role, proven, b.now())
	if err := b.credentials.Put(ctx, now.name, cred); err != nil {
		return nil, err
	}
	return &turnover{cred: cred}, nil
}

// proveSame asks Modal about the current token with another secret.
func (b *backend) proveSame(ctx context.Context, now *rotation, pair modalapi.Token, verify bool) (Token, error) {
	if !verify {
		return Token{}, refusef("token %s is the role's current token, with another secret: a token has one secret, so let Modal decide with verify=true; nothing was changed", pair.ID)
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return Token{}, err
	}
	return b.accept(ctx, cfg, unproven(pair, now.cred.ServerURL), verify)
}
