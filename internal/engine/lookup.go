// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Kinds of what a token is to this mount.
const (
	LookupCurrent  = "current"  // a role returns it
	LookupPrevious = "previous" // it is in the revocation queue, and no lease's
	LookupLease    = "lease"
	LookupAdmin    = "admin"
	LookupOrphan   = "orphan"  // its service user is this mount's, and Vault does not track it
	LookupUnknown  = "unknown" // this mount does not know it
)

// lookupBudget bounds the one call to Modal that a lookup makes.
const lookupBudget = 3 * time.Second

// LookupRequest asks whose a token is, by the token's ID or by the name of its service user.
type LookupRequest struct{ TokenID, ServiceUser string }

// Lookup is what this mount knows of a token. Empty fields are not known.
type Lookup struct {
	Kind                           string
	TokenID, ServiceUser           string
	Role                           string
	Version                        int
	State, Workspace, RevocationID string
	LastUsed                       time.Time
	Disabled                       bool
	NextStep                       string
	Warnings                       []string
}

// Lookup tells whose a token is and what ends it. It writes nothing and makes one call to Modal: when the token was used
// last, or whether an unknown token's service user is an orphan. Modal's silence is a warning, and no error.
func (e *Engine) Lookup(ctx context.Context, ask LookupRequest) (*Lookup, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	found, token, err := e.lookupStored(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	brief, cancel := context.WithTimeout(ctx, lookupBudget)
	defer cancel()
	if found == nil {
		return e.lookupAtModal(brief, cfg, ask), nil
	}
	found.TokenID, found.ServiceUser, found.Workspace = token.ID, token.serviceUser(), token.Workspace
	e.addLastUse(brief, cfg, token, found)
	return found, nil
}

// lookupStored finds a token in storage. It returns nil for a token that storage does not know.
func (e *Engine) lookupStored(ctx context.Context, cfg *Config, ask LookupRequest) (*Lookup, Token, error) {
	isAsked := func(t Token) bool {
		return (ask.TokenID != "" && t.ID == ask.TokenID) || (ask.ServiceUser != "" && t.serviceUser() == ask.ServiceUser)
	}
	if cfg.Admin != nil && isAsked(*cfg.Admin) {
		return &Lookup{Kind: LookupAdmin, State: cfg.State(e.Now()), NextStep: e.replaceAdminAtOnce()}, *cfg.Admin, nil
	}
	role, err := e.roleOf(ctx, ask)
	if err != nil {
		return nil, Token{}, err
	}
	if role != "" {
		r, failed := e.rotation(ctx, role)
		if failed != nil || r == nil {
			return nil, Token{}, failed
		}
		return &Lookup{Kind: LookupCurrent, Role: role, Version: r.Cred.Version, State: r.State(), NextStep: e.rotateAtOnce(r)}, r.Cred.Token, nil
	}
	entry, err := e.findRevocation(ctx, cmp.Or(ask.TokenID, ask.ServiceUser))
	if err != nil || entry == nil {
		return nil, Token{}, err
	}
	found := &Lookup{
		Kind: LookupPrevious, Role: entry.Role, Version: entry.Version, State: entry.State(e.Now()), RevocationID: entry.Key(),
		NextStep: fmt.Sprintf("vault write %srevocations/%s force=true", e.mount(), entry.Key()),
	}
	if entry.Reason == reasonLease || (entry.Leased && entry.Reason == reasonUnfinished) {
		found.Kind = LookupLease
	}
	return found, entry.Token, nil
}

// roleOf returns the role whose current token is asked for, "" for none.
func (e *Engine) roleOf(ctx context.Context, ask LookupRequest) (string, error) {
	if ask.TokenID != "" {
		return e.holderOf(ctx, ask.TokenID)
	}
	names, err := e.roles.List(ctx)
	if err != nil {
		return "", err
	}
	owners := make([]bool, len(names))
	eachOf(names, maxConcurrentReads, func(i int, name string) {
		_, cred, err := e.current(ctx, name)
		owners[i] = err == nil && cred != nil && cred.serviceUser() == ask.ServiceUser
	})
	for i, owns := range owners {
		if owns {
			return names[i], nil
		}
	}
	return "", nil
}

// findRevocation returns the revocation of a token's ID, or of a service user's name: nil for none.
func (e *Engine) findRevocation(ctx context.Context, id string) (*Revocation, error) {
	entry, err := e.revocations.Get(ctx, id)
	if err != nil || entry != nil {
		return entry, err
	}
	entries, _, err := e.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.ID == id || entry.serviceUser() == id {
			return entry, nil
		}
	}
	return nil, nil //nolint:nilnil // no revocation is no failure
}

// addLastUse asks Modal when a token was used last.
func (e *Engine) addLastUse(ctx context.Context, cfg *Config, t Token, found *Lookup) {
	a, err := e.admin(cfg)
	if err == nil {
		defer a.release()
		err = cfg.reaches(t)
	}
	if err != nil || !t.Verified() {
		return // Modal tells this to an admin token of the same workspace alone
	}
	if t.serviceUser() != "" {
		var user modalapi.ServiceUser
		if user, err = a.ServiceUser(ctx, a.token, t.Identity); err == nil {
			found.LastUsed = seconds(user.LastUsedAt)
		}
	} else {
		var tokens []modalapi.MemberToken
		tokens, err = a.MemberTokens(ctx, a.token)
		for _, token := range tokens {
			if token.ID == t.ID {
				found.LastUsed, found.Disabled = seconds(token.LastUsedAt), token.Disabled
			}
		}
	}
	if err != nil {
		found.Warnings = append(found.Warnings, fmt.Sprintf("when the token was used last is not known: %s", a.explain(err)))
	}
}

// lookupAtModal looks for the service user of a token that storage does not know.
func (e *Engine) lookupAtModal(ctx context.Context, cfg *Config, ask LookupRequest) *Lookup {
	found := &Lookup{Kind: LookupUnknown, TokenID: ask.TokenID, ServiceUser: ask.ServiceUser}
	unknown := Token{ID: ask.TokenID}
	a, err := e.admin(cfg)
	if err == nil {
		defer a.release()
		var users []modalapi.ServiceUser
		users, err = a.ServiceUsers(ctx, a.token)
		for _, user := range users {
			if (ask.TokenID == "" || user.TokenID != ask.TokenID) && (ask.ServiceUser == "" || user.Name != ask.ServiceUser) {
				continue
			}
			unknown.IdentityType, unknown.Identity, unknown.IdentityID, unknown.ID = modalapi.IdentityServiceUser, user.Name, user.ID, user.TokenID
			unknown.Workspace = cfg.Admin.Workspace
			found.TokenID, found.ServiceUser, found.Workspace, found.LastUsed = user.TokenID, user.Name, unknown.Workspace, seconds(user.LastUsedAt)
			if strings.HasPrefix(user.Name, e.namePrefix()) {
				found.Kind = LookupOrphan
				found.NextStep = fmt.Sprintf("vault write %sorphans names=%s dry_run=false", e.mount(), user.Name)
				return found
			}
		}
		if err != nil {
			err = a.explain(err)
		}
	}
	if err != nil {
		found.Warnings = append(found.Warnings, fmt.Sprintf("whether a service user at Modal owns the token was not found out: %s", err))
	}
	switch {
	case unknown.ID != "":
		found.NextStep = "this mount does not know the token: " + unknown.howToDelete()
	default:
		found.NextStep = "this mount does not know the service user, and neither does Modal as far as it told: look in the other mounts and workspaces"
	}
	return found
}

// rotateAtOnce is the command that replaces a role's current token and ends it without a grace period.
func (e *Engine) rotateAtOnce(r *Rotation) string {
	if r.Role.Managed != nil {
		return fmt.Sprintf("vault write %srotate/%s grace_period=0", e.mount(), r.Name)
	}
	return fmt.Sprintf("vault write %srotate/%s token_id=… token_secret=- grace_period=0, or have the next token approved in a browser: vault write %srotate/%s/approval grace_period=0",
		e.mount(), r.Name, e.mount(), r.Name)
}

// replaceAdminAtOnce is the command that replaces the admin token and ends it without a grace period.
func (e *Engine) replaceAdminAtOnce() string {
	return fmt.Sprintf("vault write %sconfig/rotate token_id=… token_secret=- grace_period=0, or have the next token approved in a browser: vault write %sconfig/approval grace_period=0",
		e.mount(), e.mount())
}
