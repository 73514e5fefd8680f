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

	"vault-plugin-secrets-modal/internal/modalapi"
)

func verifyRoles(ctx context.Context, a *admin, made *candidate, access *Access) error {
	user, err := a.ServiceUser(ctx, a.token, made.Identity)
	if modalapi.KindOf(err) == modalapi.KindUnsupported {
		made.warnings = []string{fmt.Sprintf("Modal does not tell what service user %s may do, so its environment roles were set and not read back", made.Identity)}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read service user %s: %w", made.Identity, a.explain(err))
	}
	if user.Scoped != access.Scoped {
		return mismatch("scoped", strconv.FormatBool(access.Scoped), strconv.FormatBool(user.Scoped), true)
	}
	if want, got := rolesText(access.EnvironmentRoles), rolesText(user.Roles); want != got {
		return mismatch("set of environment roles", want, got, true)
	}
	return nil
}

// setRoles gives a service user roles, one environment after the other, and returns where it did or may
// have done. Modal wants the environments' IDs.
func setRoles(ctx context.Context, a *admin, serviceUserID string, roles map[string]modalapi.EnvironmentRole) (done []string, err error) {
	if len(roles) == 0 {
		return nil, nil
	}
	known, err := a.Environments(ctx, a.token)
	if err != nil {
		return nil, fmt.Errorf("look up its environments: %w", a.explain(err))
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
	for _, environment := range wanted {
		err = a.SetEnvironmentRole(ctx, a.token, serviceUserID, ids[environment], roles[environment])
		if modalapi.KindOf(err) == modalapi.KindNotFound {
			return done, fmt.Errorf("no role could be given in environment %s: %w", environment, err)
		}
		if modalapi.KindOf(err) == modalapi.KindUnavailable {
			done = append(done, environment)
		}
		if err != nil {
			return done, fmt.Errorf("make it %s of environment %s: %w", roles[environment], environment, a.explain(err))
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

// wanting is what a service user should be able to do, given what it can.
type wanting func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole

func exactly(wanted map[string]modalapi.EnvironmentRole) wanting {
	return func(map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole { return wanted }
}

// atMost takes away what is not wanted, and gives nothing.
func atMost(wanted map[string]modalapi.EnvironmentRole) wanting {
	return func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
		less := map[string]modalapi.EnvironmentRole{}
		for environment := range has {
			less[environment] = lesser(roleIn(has, environment), roleIn(wanted, environment))
		}
		return less
	}
}

// lesser is the one of two roles that may do less.
func lesser(a, b modalapi.EnvironmentRole) modalapi.EnvironmentRole {
	order := []modalapi.EnvironmentRole{modalapi.RoleNoAccess, modalapi.RoleViewer}
	for _, least := range order {
		if a == least || b == least {
			return least
		}
	}
	return b
}

// grant makes what a living service user may do the wanted set, minting nothing. What it changed is put
// back when it cannot change all.
func (e *Engine) grant(ctx context.Context, cfg *Config, t Token, want wanting) error {
	a, user, err := e.ownerOf(ctx, cfg, t)
	if err != nil {
		return err
	}
	defer a.release()
	change := map[string]modalapi.EnvironmentRole{}
	wanted := want(user.Roles)
	environments := maps.Clone(user.Roles)
	maps.Copy(environments, wanted)
	for environment := range environments {
		if role := roleIn(wanted, environment); role != roleIn(user.Roles, environment) {
			change[environment] = role
		}
	}
	changed, err := setRoles(ctx, a, t.IdentityID, change)
	if err == nil {
		return nil
	}
	back := map[string]modalapi.EnvironmentRole{}
	for _, environment := range changed {
		back[environment] = roleIn(user.Roles, environment)
	}
	// Its time is its own: what ran out of time has to be put back all the same.
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
	defer cancel()
	if _, failed := setRoles(brief, a, t.IdentityID, back); failed != nil {
		return fmt.Errorf("service user %s has only a part of its new environment roles, write them again: %w", t.Identity, err)
	}
	return fmt.Errorf("service user %s keeps its environment roles: %w", t.Identity, err)
}

// ownerOf readies the admin token and reads with it the service user that owns a token. Without an error
// the admin is to be released.
func (e *Engine) ownerOf(ctx context.Context, cfg *Config, t Token) (*admin, modalapi.ServiceUser, error) {
	if err := e.reaches(cfg, t); err != nil {
		return nil, modalapi.ServiceUser{}, err
	}
	a, err := e.admin(cfg)
	if err != nil {
		return nil, modalapi.ServiceUser{}, err
	}
	user, err := a.ServiceUser(ctx, a.token, t.Identity)
	if err == nil {
		return a, user, nil
	}
	a.release()
	if modalapi.KindOf(err) == modalapi.KindNotFound {
		return nil, modalapi.ServiceUser{}, &goneError{t.Identity}
	}
	return nil, modalapi.ServiceUser{}, fmt.Errorf("read service user %s: %w", t.Identity, a.explain(err))
}

// goneError is a service user that somebody deleted at Modal.
type goneError struct{ user string }

func (g *goneError) Error() string {
	return fmt.Sprintf("service user %s is gone at Modal, and its token with it", g.user)
}

// mendGone ends the error about a role's token that is gone with the command that makes a new one.
func (e *Engine) mendGone(err error, role string) error {
	if gone := (*goneError)(nil); errors.As(err, &gone) {
		return Refusef("%s; make a new one with: vault write -f %srotate/%s", err, e.mount(), role)
	}
	return err
}

// roleIn is the role in an environment; one that is not named has none.
func roleIn(roles map[string]modalapi.EnvironmentRole, environment string) modalapi.EnvironmentRole {
	return cmp.Or(roles[environment], modalapi.RoleNoAccess)
}

// maxNamed is how many environments an error names.
const maxNamed = 10

func unknownEnvironment(environment string, known []modalapi.Environment) error {
	names := make([]string, 0, maxNamed+1)
	for _, one := range known[:min(len(known), maxNamed)] {
		names = append(names, one.Name)
	}
	if more := len(known) - maxNamed; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return Refusef("environment %s does not exist: the workspace has %s", environment, strings.Join(names, ", "))
}

// rolesText is a set of environment roles in one order, without those that give nothing.
func rolesText(roles map[string]modalapi.EnvironmentRole) string {
	var parts []string
	for _, environment := range slices.Sorted(maps.Keys(roles)) {
		if roles[environment] != modalapi.RoleNoAccess {
			parts = append(parts, environment+"="+string(roles[environment]))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ",")
}
