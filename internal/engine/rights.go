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
	mount   *state.Mount
	revoker *revocation.Revoker
}

// verifyRoles compares the rights that Modal reports for a new service user with the rights that the role gives it.
func verifyRoles(ctx context.Context, a *state.Admin, created *candidate, access *model.Access) error {
	user, err := a.ServiceUser(ctx, a.Token, created.Identity)
	if modalapi.KindOf(err) == modalapi.KindUnsupported {
		created.warnings = []string{fmt.Sprintf("Modal does not report the rights of service user %s, so the engine set its environment roles but could not check them", created.Identity)}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read service user %s: %w", created.Identity, a.Explain(err))
	}
	if user.Scoped != access.Scoped {
		return mismatch("scoped", strconv.FormatBool(access.Scoped), strconv.FormatBool(user.Scoped), true)
	}
	if want, got := model.RolesText(access.EnvironmentRoles), model.RolesText(user.Roles); want != got {
		return mismatch("set of environment roles", want, got, true)
	}
	return nil
}

// setRoles sets roles of a service user, one environment after the other, lesser roles first. It returns the
// environments that it changed or may have changed. Modal needs the environments' IDs.
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
		return ids[environment] == "" && roles[environment] == modalapi.RoleNoAccess // an unknown environment has no role to remove
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
			return done, fmt.Errorf("the role in environment %s was not set: %w", environment, err)
		}
		if modalapi.KindOf(err) == modalapi.KindUnavailable {
			done = append(done, environment)
		}
		if err != nil {
			return done, fmt.Errorf("set role %s in environment %s: %w", roles[environment], environment, a.Explain(err))
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

// change changes the rights of an existing service user, and reports whether it had to set anything.
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
	// Undo the change even if the caller's time is over.
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), state.BriefBudget)
	defer cancel()
	if _, failed := setRoles(brief, a, t.IdentityID, back); failed != nil {
		return true, fmt.Errorf("service user %s has only a part of its new environment roles, write them again: %w", t.Identity, err)
	}
	return true, fmt.Errorf("service user %s keeps its old environment roles, up to those of the role: %w", t.Identity, err)
}

// lastReadBack is the longest wait between two questions about a change.
const lastReadBack = 2 * time.Second

// changedUser is a service user after its roles were set.
type changedUser struct {
	token model.Token
	want  model.WantedRoles
	// reported are the roles that Modal reports, nil before Modal was asked.
	reported map[string]modalapi.EnvironmentRole
}

// readBack asks Modal for a few seconds whether it reports the roles that were set. It returns the service users for
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

// isSet reports whether Modal shows the roles that were set. It is true for a service user that no longer exists.
func (rg *rights) isSet(ctx context.Context, cfg *model.Config, user *changedUser) bool {
	a, serviceUser, err := rg.serviceUserOf(ctx, cfg, user.token)
	if err != nil {
		gone := (*goneError)(nil)
		return errors.As(err, &gone)
	}
	a.Release()
	user.reported = serviceUser.Roles
	return model.RolesText(serviceUser.Roles) == model.RolesText(user.want(serviceUser.Roles))
}

// notShown returns the warning that Modal acknowledged a change but does not report it.
func (rg *rights) notShown(cfg *model.Config, u changedUser) string {
	text := fmt.Sprintf("the environment roles of service user %s were set, but Modal does not report them", u.token.Identity)
	if u.reported != nil {
		text = fmt.Sprintf("the environment roles of service user %s were set to %s, but Modal still reports %s",
			u.token.Identity, model.RolesText(u.want(u.reported)), model.RolesText(u.reported))
	}
	return rg.mount.NotePausedIn(cfg, text+": the engine sets them again within a minute or so")
}

// narrowPrevious removes from previous tokens the rights that the role does not have, and adds none. It returns the
// service users that it changed, and an error for each previous token that keeps more rights.
func (rg *rights) narrowPrevious(ctx context.Context, cfg *model.Config, cred *model.Credential, previous []*model.Revocation, c model.RoleChange) (set []changedUser, kept []error) {
	for _, entry := range previous {
		if !entry.CanDelete() || entry.DeletionStarted || entry.IsOf(cred) || entry.Reason == model.ReasonUnfinished {
			continue
		}
		changed, err := rg.change(ctx, cfg, entry.Token, c)
		if gone := (*goneError)(nil); errors.As(err, &gone) {
			continue // a deleted service user has no rights
		}
		if err != nil {
			kept = append(kept, fmt.Errorf("the previous token %s keeps its old environment roles until it is revoked (%s): %w", entry.ID, rg.revoker.NextStep(ctx, entry), err))
		}
		if changed && err == nil {
			set = append(set, changedUser{token: entry.Token, want: c.Want})
		}
	}
	return set, kept
}

// serviceUserOf reads, with the admin token, the service user that owns a token. If it returns no error, the caller
// must release the returned admin.
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

// goneError says that a service user no longer exists at Modal.
type goneError struct{ user string }

func (g *goneError) Error() string {
	return fmt.Sprintf("service user %s no longer exists at Modal, so its token does not work either", g.user)
}

// explainGone adds to the error about a deleted service user the command that creates a new token.
func (rg *rights) explainGone(err error, role string) error {
	if gone := (*goneError)(nil); errors.As(err, &gone) {
		return model.UserErrorf("%s; create a new token with: %s", err, rg.mount.Commands().Rotate(role))
	}
	return err
}

// maxNamedEnvironments limits how many environments an error names.
const maxNamedEnvironments = 10

// unknownEnvironment returns the error for an environment that does not exist. It names the existing environments.
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
