// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// rights sets the environment roles of service users at Modal.
type rights struct {
	mount *state.Mount
	queue *revocation.Queue
}

func verifyRoles(ctx context.Context, a *state.Admin, made *candidate, access *model.Access) error {
	user, err := a.ServiceUser(ctx, a.Token, made.Identity)
	if modalapi.KindOf(err) == modalapi.KindUnsupported {
		made.warnings = []string{fmt.Sprintf("Modal does not tell what service user %s may do, so its environment roles were set and not read back", made.Identity)}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read service user %s: %w", made.Identity, a.Explain(err))
	}
	if user.Scoped != access.Scoped {
		return mismatch("scoped", strconv.FormatBool(access.Scoped), strconv.FormatBool(user.Scoped), true)
	}
	if want, got := model.RolesText(access.EnvironmentRoles), model.RolesText(user.Roles); want != got {
		return mismatch("set of environment roles", want, got, true)
	}
	return nil
}

// setRoles gives a service user roles, one environment after the other and the lesser roles first, and returns where
// it did or may have done. Modal wants the environments' IDs.
func setRoles(ctx context.Context, a *state.Admin, serviceUserID string, roles map[string]modalapi.EnvironmentRole) (done []string, err error) {
	if len(roles) == 0 {
		return nil, nil
	}
	known, err := a.Environments(ctx, a.Token)
	if err != nil {
		return nil, fmt.Errorf("look up its environments: %w", a.Explain(err))
	}
	ids := environmentIDs(known)
	wanted := slices.DeleteFunc(slices.Sorted(maps.Keys(roles)), func(environment string) bool {
		return ids[environment] == "" && roles[environment] == modalapi.RoleNoAccess // nothing there to take away
	})
	for _, environment := range wanted {
		if ids[environment] == "" {
			return nil, unknownEnvironment(environment, known)
		}
	}
	slices.SortStableFunc(wanted, func(x, y string) int { return cmp.Compare(model.Rank(roles[x]), model.Rank(roles[y])) })
	for _, environment := range wanted {
		err = a.SetEnvironmentRole(ctx, a.Token, serviceUserID, ids[environment], roles[environment])
		if modalapi.KindOf(err) == modalapi.KindNotFound {
			return done, fmt.Errorf("no role could be given in environment %s: %w", environment, err)
		}
		if modalapi.KindOf(err) == modalapi.KindUnavailable {
			done = append(done, environment)
		}
		if err != nil {
			return done, fmt.Errorf("make it %s of environment %s: %w", roles[environment], environment, a.Explain(err))
		}
		done = append(done, environment)
	}
	return done, nil
}

func environmentIDs(known []modalapi.Environment) map[string]string {
	ids := make(map[string]string, len(known))
	for _, environment := range known {
		ids[environment.Name] = environment.ID
	}
	return ids
}

// change changes the rights of a living service user, and reports whether anything had to be set.
func (rg *rights) change(ctx context.Context, cfg *model.Config, t model.Token, c model.RoleChange) (set bool, err error) {
	a, user, err := rg.serviceUserOf(ctx, cfg, t)
	if err != nil {
		return false, err
	}
	defer a.Release()
	pending := c.Pending(user.Roles)
	done, err := setRoles(ctx, a, t.IdentityID, pending)
	if err == nil || c.Back == nil {
		return len(pending) > 0, err
	}
	back := map[string]modalapi.EnvironmentRole{}
	for _, environment := range done {
		if before := model.RoleIn(c.Back(user.Roles), environment); before != pending[environment] {
			back[environment] = before
		}
	}
	// The caller's time may be over. The change is undone all the same.
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), state.BriefBudget)
	defer cancel()
	if _, failed := setRoles(brief, a, t.IdentityID, back); failed != nil {
		return true, fmt.Errorf("service user %s has only a part of its new environment roles, write them again: %w", t.Identity, err)
	}
	return true, fmt.Errorf("service user %s keeps its environment roles, and no more than the role says: %w", t.Identity, err)
}

// lastReadBack is the longest wait between two looks at a change.
const lastReadBack = 2 * time.Second

// changedUser is a service user after its roles were set.
type changedUser struct {
	token model.Token
	want  model.WantedRoles
	// reported are the roles that Modal reports, nil before Modal was asked.
	reported map[string]modalapi.EnvironmentRole
}

// readBack asks Modal for a few seconds whether it shows the roles that were set. It returns the service users of
// which Modal still reports other roles.
func (rg *rights) readBack(ctx context.Context, cfg *model.Config, users []changedUser) []changedUser {
	for wait := firstVerifyWait; ; wait *= 2 {
		var differ []changedUser
		for _, user := range users {
			if !rg.isSet(ctx, cfg, &user) {
				differ = append(differ, user)
			}
		}
		if users = differ; len(users) == 0 || wait > lastReadBack || rg.mount.Wait(ctx, wait) != nil {
			return users
		}
	}
}

// isSet reports whether Modal shows the roles that were set. A service user that is gone has no roles to show.
func (rg *rights) isSet(ctx context.Context, cfg *model.Config, user *changedUser) bool {
	a, told, err := rg.serviceUserOf(ctx, cfg, user.token)
	if err != nil {
		gone := (*goneError)(nil)
		return errors.As(err, &gone)
	}
	a.Release()
	user.reported = told.Roles
	return model.RolesText(told.Roles) == model.RolesText(user.want(told.Roles))
}

// notShown says that Modal acknowledged a change and does not show it.
func (u changedUser) notShown() string {
	if u.reported == nil {
		return fmt.Sprintf("the environment roles of service user %s were set, and Modal does not tell which it has now: the engine sets them again within a minute or so", u.token.Identity)
	}
	return fmt.Sprintf("the environment roles of service user %s were set to %s, and Modal still reports %s: the engine sets them again within a minute or so",
		u.token.Identity, model.RolesText(u.want(u.reported)), model.RolesText(u.reported))
}

// narrowPrevious takes away the rights of previous tokens that the role does not have, and adds none. It returns the
// service users that it changed, and the reasons for which others keep more.
func (rg *rights) narrowPrevious(ctx context.Context, cfg *model.Config, cred *model.Credential, previous []*model.Revocation, c model.RoleChange) (set []changedUser, kept []error) {
	for _, entry := range previous {
		if !entry.CanDelete() || entry.DeletionStarted || entry.IsOf(cred) || entry.Reason == model.ReasonUnfinished {
			continue
		}
		changed, err := rg.change(ctx, cfg, entry.Token, c)
		if gone := (*goneError)(nil); errors.As(err, &gone) {
			continue // it has no role any more
		}
		if err != nil {
			kept = append(kept, fmt.Errorf("the previous token %s keeps the environment roles that it had until it ends (%s): %w", entry.ID, rg.queue.NextStep(ctx, entry), err))
		}
		if changed && err == nil {
			set = append(set, changedUser{token: entry.Token, want: c.Want})
		}
	}
	return set, kept
}

// serviceUserOf readies the admin token and reads with it the service user that owns a token. Without an error
// the admin is to be released.
func (rg *rights) serviceUserOf(ctx context.Context, cfg *model.Config, t model.Token) (*state.Admin, modalapi.ServiceUser, error) {
	if err := rg.mount.CheckReach(cfg, t); err != nil {
		return nil, modalapi.ServiceUser{}, err
	}
	a, err := rg.mount.Admin(cfg)
	if err != nil {
		return nil, modalapi.ServiceUser{}, err
	}
	user, err := a.ServiceUser(ctx, a.Token, t.Identity)
	if err == nil {
		return a, user, nil
	}
	a.Release()
	if modalapi.KindOf(err) == modalapi.KindNotFound {
		return nil, modalapi.ServiceUser{}, &goneError{t.Identity}
	}
	return nil, modalapi.ServiceUser{}, fmt.Errorf("read service user %s: %w", t.Identity, a.Explain(err))
}

// goneError is a service user that somebody deleted at Modal.
type goneError struct{ user string }

func (g *goneError) Error() string {
	return fmt.Sprintf("service user %s is gone at Modal, and its token with it", g.user)
}

// explainGone ends the error about a role's token that is gone with the command that makes a new one.
func (rg *rights) explainGone(err error, role string) error {
	if gone := (*goneError)(nil); errors.As(err, &gone) {
		return model.UserErrorf("%s; make a new one with: vault write -f %srotate/%s", err, rg.mount.CommandPrefix(), role)
	}
	return err
}

// maxNamedEnvironments is how many environments an error names.
const maxNamedEnvironments = 10

func unknownEnvironment(environment string, known []modalapi.Environment) error {
	names := make([]string, 0, maxNamedEnvironments+1)
	for _, one := range known[:min(len(known), maxNamedEnvironments)] {
		names = append(names, one.Name)
	}
	if more := len(known) - maxNamedEnvironments; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return model.UserErrorf("environment %s does not exist: the workspace has %s", environment, strings.Join(names, ", "))
}
