// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// Lookups finds out which role, lease or revocation a token belongs to.
type Lookups struct {
	mount  *state.Mount
	owners *state.Owners
}

// The kinds of a lookup say how this mount uses a token.
const (
	LookupCurrent  = "current"  // a role returns it
	LookupPrevious = "previous" // it is in the revocation queue, but not a lease's
	LookupLease    = "lease"
	LookupAdmin    = "admin"
	LookupOrphan   = "orphan"  // its service user has this mount's name prefix, but Vault does not track it
	LookupUnknown  = "unknown" // this mount does not know it
)

// lookupBudget limits the one call to Modal that a lookup makes.
const lookupBudget = 3 * time.Second

// LookupRequest names a token by its ID or by the name of its service user.
type LookupRequest struct{ TokenID, ServiceUser string }

// Lookup is what this mount knows about a token. Unknown fields are empty.
type Lookup struct {
	Kind                           string
	TokenID, ServiceUser           string
	Role, Description              string // the role's, if it still exists
	Version                        int
	State, Workspace, RevocationID string
	LastUsed                       time.Time
	Disabled                       bool
	NextStep                       string
	Warnings                       []string
}

// Find tells which role, lease or revocation a token belongs to, and which command ends the token. It writes nothing
// and makes one call to Modal. The call asks when the token was last used, or whether the service user of an unknown
// token is an orphan. If Modal does not answer, Find returns a warning and no error.
func (lk *Lookups) Find(ctx context.Context, ask LookupRequest) (*Lookup, error) {
	cfg, err := lk.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	found, token, err := lk.findKnown(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	brief, cancel := context.WithTimeout(ctx, lookupBudget)
	defer cancel()
	if found.Kind == LookupUnknown {
		lk.askModal(brief, cfg, ask, found)
		return lk.checkOrphan(ctx, cfg, ask, found)
	}
	found.TokenID, found.ServiceUser, found.Workspace = token.ID, token.ServiceUserName(), token.Workspace
	lk.addLastUse(brief, cfg, token, found)
	return found, nil
}

// isAbout reports whether the request names a token.
func (ask LookupRequest) isAbout(t model.Token) bool {
	return (ask.TokenID != "" && t.ID == ask.TokenID) || (ask.ServiceUser != "" && t.ServiceUserName() == ask.ServiceUser)
}

// checkOrphan looks up the token of an orphan that was asked for by its service user. Storage does not know the service
// user of a token that was stored with verify=false.
func (lk *Lookups) checkOrphan(ctx context.Context, cfg *model.Config, ask LookupRequest, orphan *Lookup) (*Lookup, error) {
	if orphan.Kind != LookupOrphan || ask.TokenID != "" {
		return orphan, nil
	}
	found, token, err := lk.findKnown(ctx, cfg, LookupRequest{TokenID: orphan.TokenID})
	if err != nil || found.Kind == LookupUnknown {
		return orphan, err
	}
	found.TokenID, found.ServiceUser, found.Workspace, found.LastUsed = token.ID, orphan.ServiceUser, orphan.Workspace, orphan.LastUsed
	return found, nil
}

// findKnown finds a token in storage. A token that a role stores with verify=false may have no stored owner, because
// another role had it verified meanwhile. So findKnown reads all roles for a token that is unknown otherwise.
func (lk *Lookups) findKnown(ctx context.Context, cfg *model.Config, ask LookupRequest) (*Lookup, model.Token, error) {
	found, token, err := lk.findStored(ctx, cfg, ask)
	if err != nil || found.Kind != LookupUnknown || ask.TokenID == "" {
		return found, token, err
	}
	role, err := lk.searchRoles(ctx, ask)
	if err != nil || role == "" {
		return found, token, err
	}
	current, token, err := lk.currentOf(ctx, role, ask)
	if err != nil || current == nil {
		return found, model.Token{}, err
	}
	return current, token, nil
}

// currentOf returns what a role's current token is, or nil if the request is about another token.
func (lk *Lookups) currentOf(ctx context.Context, role string, ask LookupRequest) (*Lookup, model.Token, error) {
	r, err := lk.mount.Rotation(ctx, role)
	if err != nil || r == nil || !ask.isAbout(r.Cred.Token) {
		return nil, model.Token{}, err
	}
	return &Lookup{
		Kind: LookupCurrent, Role: role, Description: r.Role.Description, Version: r.Cred.Version, State: r.State(), NextStep: lk.rotateAtOnce(r),
	}, r.Cred.Token, nil
}

// findStored finds a token in storage. A token that storage does not know is unknown.
func (lk *Lookups) findStored(ctx context.Context, cfg *model.Config, ask LookupRequest) (*Lookup, model.Token, error) {
	if cfg.Admin != nil && ask.isAbout(*cfg.Admin) {
		return &Lookup{Kind: LookupAdmin, State: cfg.State(lk.mount.Now()), NextStep: lk.replaceAdminAtOnce()}, *cfg.Admin, nil
	}
	role, err := lk.roleOf(ctx, ask)
	if err != nil {
		return nil, model.Token{}, err
	}
	if role != "" {
		found, token, failed := lk.currentOf(ctx, role, ask)
		if failed != nil || found != nil {
			return found, token, failed
		} // else a rotation or a deletion has just put the token into the queue
	}
	entry, doubt, err := lk.mount.FindRevocation(ctx, cmp.Or(ask.TokenID, ask.ServiceUser))
	if err != nil {
		return nil, model.Token{}, err
	}
	if entry == nil {
		found := &Lookup{Kind: LookupUnknown, TokenID: ask.TokenID, ServiceUser: ask.ServiceUser}
		if doubt != "" {
			found.Warnings = append(found.Warnings, doubt)
		}
		return found, model.Token{}, nil
	}
	found := &Lookup{
		Kind: LookupPrevious, Role: entry.Role, Version: entry.Version, State: entry.State(lk.mount.Now()), RevocationID: entry.Key(),
		NextStep: lk.mount.Commands().ForceRevocation(entry.Key()),
	}
	if entry.Reason == model.ReasonLease || (entry.Leased && entry.Reason == model.ReasonUnfinished) {
		found.Kind = LookupLease
	}
	r, err := lk.mount.Roles.Get(ctx, entry.Role)
	if err == nil && entry.IsOfGeneration(r) {
		found.Description = r.Description
	}
	return found, entry.Token, nil
}

// roleOf returns the role whose current token is asked for, or "".
func (lk *Lookups) roleOf(ctx context.Context, ask LookupRequest) (string, error) {
	if ask.TokenID != "" {
		return lk.owners.OwnerOf(ctx, ask.TokenID)
	}
	return lk.searchRoles(ctx, ask)
}

// searchRoles reads all roles for the current token that is asked for, and returns its role, or "". It fails if it finds
// no such role and cannot read the token of some role.
func (lk *Lookups) searchRoles(ctx context.Context, ask LookupRequest) (string, error) {
	names, err := lk.mount.Roles.List(ctx)
	if err != nil {
		return "", err
	}
	owners, failures := make([]bool, len(names)), make([]error, len(names))
	state.EachOf(names, state.MaxConcurrentReads, func(i int, name string) {
		var cred *model.Credential
		_, cred, failures[i] = lk.mount.Current(ctx, name)
		owners[i] = cred != nil && ask.isAbout(cred.Token)
	})
	if at := slices.Index(owners, true); at >= 0 {
		return names[at], nil
	}
	return "", errors.Join(failures...)
}

// addLastUse asks Modal when a token was last used.
func (lk *Lookups) addLastUse(ctx context.Context, cfg *model.Config, t model.Token, found *Lookup) {
	a, err := lk.mount.Admin(cfg)
	if err == nil {
		defer a.Release()
		err = cfg.CheckReach(t)
	}
	if err != nil || !t.Verified() {
		return // only an admin token of the same workspace can ask Modal
	}
	if t.ServiceUserName() != "" {
		var user modalapi.ServiceUser
		if user, err = a.ServiceUser(ctx, a.Token, t.Identity); err == nil {
			found.LastUsed = model.WholeSeconds(user.LastUsedAt)
		}
	} else {
		var tokens []modalapi.MemberToken
		tokens, err = a.MemberTokens(ctx, a.Token)
		for _, token := range tokens {
			if token.ID == t.ID {
				found.LastUsed, found.Disabled = model.WholeSeconds(token.LastUsedAt), token.Disabled
			}
		}
	}
	if found.Disabled {
		found.Warnings = append(found.Warnings, "a person disabled the token at Modal, and can enable it again: Modal rejects the token now, but it is not revoked")
	}
	if err != nil {
		found.Warnings = append(found.Warnings, fmt.Sprintf("Modal did not say when the token was last used: %s", a.Explain(err)))
	}
}

// askModal asks Modal for the service user of a token that storage does not know, and completes the answer.
func (lk *Lookups) askModal(ctx context.Context, cfg *model.Config, ask LookupRequest, found *Lookup) {
	unknown := model.Token{ID: ask.TokenID}
	a, err := lk.mount.Admin(cfg)
	if err == nil {
		defer a.Release()
		var users []modalapi.ServiceUser
		users, err = a.ServiceUsers(ctx, a.Token)
		for _, user := range users {
			if (ask.TokenID == "" || user.TokenID != ask.TokenID) && (ask.ServiceUser == "" || user.Name != ask.ServiceUser) {
				continue
			}
			unknown.IdentityType, unknown.Identity, unknown.IdentityID, unknown.ID = modalapi.IdentityServiceUser, user.Name, user.ID, user.TokenID
			unknown.Workspace = cfg.Admin.Workspace
			found.TokenID, found.ServiceUser, found.Workspace, found.LastUsed = user.TokenID, user.Name, unknown.Workspace, model.WholeSeconds(user.LastUsedAt)
			if strings.HasPrefix(user.Name, lk.mount.NamePrefix()) {
				found.Kind = LookupOrphan
				found.NextStep = lk.mount.Commands().DeleteOrphan(user.Name)
				return
			}
		}
		if err != nil {
			err = a.Explain(err)
		}
	}
	if err != nil {
		found.Warnings = append(found.Warnings, fmt.Sprintf("Modal did not say whether a service user owns the token: %s", err))
	}
	switch {
	case unknown.ID != "":
		found.NextStep = unknown.DeletionInstructions() + "; this mount does not know the token"
	default:
		found.NextStep = "look for the service user in other mounts and workspaces: this mount does not know it, and Modal did not list it"
	}
}

// rotateAtOnce returns the command that replaces a role's current token and revokes it without a grace period.
func (lk *Lookups) rotateAtOnce(r *model.Rotation) string {
	run := lk.mount.Commands()
	if r.Role.Managed != nil {
		return run.Rotate(r.Name, model.WithoutGrace)
	}
	return fmt.Sprintf("%s, or approve the next token in a browser: %s", run.BringToken(r.Name, model.WithoutGrace), run.Approve(r.Name, model.WithoutGrace))
}

// replaceAdminAtOnce returns the command that replaces the admin token and revokes it without a grace period.
func (lk *Lookups) replaceAdminAtOnce() string {
	run := lk.mount.Commands()
	return fmt.Sprintf("%s, or approve the next token in a browser: %s", run.RotateAdmin(model.WithoutGrace), run.Approve("", model.WithoutGrace))
}
