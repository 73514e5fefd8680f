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

// setRoles gives a service user roles, one environment after the other and the lesser roles first, and returns where
// it did or may have done. Modal wants the environments' IDs.
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
	slices.SortStableFunc(wanted, func(x, y string) int { return cmp.Compare(rank(roles[x]), rank(roles[y])) })
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

// rank orders roles by their rights. A role that the engine does not know counts as the highest.
func rank(role modalapi.EnvironmentRole) int {
	order := []modalapi.EnvironmentRole{modalapi.RoleNoAccess, modalapi.RoleViewer, modalapi.RoleContributor}
	if at := slices.Index(order, role); at >= 0 {
		return at
	}
	return len(order)
}

// lesser is the role with fewer rights.
func lesser(a, b modalapi.EnvironmentRole) modalapi.EnvironmentRole {
	if rank(a) < rank(b) {
		return a
	}
	return b
}

// within limits environment roles to the ceilings of config.
func (c *Config) within(roles map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
	left := map[string]modalapi.EnvironmentRole{}
	for environment, role := range roles {
		if len(c.AllowedEnvironments) > 0 && !slices.Contains(c.AllowedEnvironments, environment) {
			continue
		}
		if c.MaxEnvironmentRole != "" {
			role = lesser(role, c.MaxEnvironmentRole)
		}
		left[environment] = role
	}
	return left
}

// roleChange is a change of the rights of a living service user.
type roleChange struct {
	want wanting
	// always are environments that the change sets whatever Modal reports: Modal's answer may be out of date.
	always map[string]bool
	// back are the rights to return to if the change fails half-way. Nil keeps the part that was done.
	back wanting
}

// allOf are the environments of a set of roles.
func allOf(roles map[string]modalapi.EnvironmentRole) map[string]bool {
	return changedIn(nil, roles)
}

// changedIn are the environments in which two sets of roles differ.
func changedIn(before, after map[string]modalapi.EnvironmentRole) map[string]bool {
	changed := map[string]bool{}
	for _, roles := range []map[string]modalapi.EnvironmentRole{before, after} {
		for environment := range roles {
			if roleIn(before, environment) != roleIn(after, environment) {
				changed[environment] = true
			}
		}
	}
	return changed
}

// lostIn are the environments in which a role lost rights.
func lostIn(before, after map[string]modalapi.EnvironmentRole) map[string]bool {
	lost := changedIn(before, after)
	maps.DeleteFunc(lost, func(environment string, _ bool) bool {
		return rank(roleIn(after, environment)) > rank(roleIn(before, environment))
	})
	return lost
}

// pending are the roles to set, given the roles that Modal reports.
func (c roleChange) pending(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
	wanted, pending := c.want(has), map[string]modalapi.EnvironmentRole{}
	for environment := range changedIn(has, wanted) {
		pending[environment] = roleIn(wanted, environment)
	}
	for environment := range c.always {
		pending[environment] = roleIn(wanted, environment)
	}
	return pending
}

// change changes the rights of a living service user, and reports whether anything had to be set.
func (e *Engine) change(ctx context.Context, cfg *Config, t Token, c roleChange) (set bool, err error) {
	a, user, err := e.ownerOf(ctx, cfg, t)
	if err != nil {
		return false, err
	}
	defer a.release()
	pending := c.pending(user.Roles)
	done, err := setRoles(ctx, a, t.IdentityID, pending)
	if err == nil || c.back == nil {
		return len(pending) > 0, err
	}
	back := map[string]modalapi.EnvironmentRole{}
	for _, environment := range done {
		if before := roleIn(c.back(user.Roles), environment); before != pending[environment] {
			back[environment] = before
		}
	}
	// The caller's time may be over. The change is undone all the same.
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
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
	token Token
	want  wanting
	// reported are the roles that Modal reports, nil before Modal was asked.
	reported map[string]modalapi.EnvironmentRole
}

// readBack asks Modal for a few seconds whether it shows the roles that were set. It returns the service users of
// which Modal still reports other roles.
func (e *Engine) readBack(ctx context.Context, cfg *Config, users []changedUser) []changedUser {
	for wait := firstVerifyWait; ; wait *= 2 {
		var differ []changedUser
		for _, user := range users {
			if !e.isSet(ctx, cfg, &user) {
				differ = append(differ, user)
			}
		}
		if users = differ; len(users) == 0 || wait > lastReadBack || e.deps.Wait(ctx, wait) != nil {
			return users
		}
	}
}

// isSet reports whether Modal shows the roles that were set. A service user that is gone has no roles to show.
func (e *Engine) isSet(ctx context.Context, cfg *Config, user *changedUser) bool {
	a, told, err := e.ownerOf(ctx, cfg, user.token)
	if err != nil {
		gone := (*goneError)(nil)
		return errors.As(err, &gone)
	}
	a.release()
	user.reported = told.Roles
	return rolesText(told.Roles) == rolesText(user.want(told.Roles))
}

// notShown says that Modal acknowledged a change and does not show it.
func (u changedUser) notShown() string {
	if u.reported == nil {
		return fmt.Sprintf("the environment roles of service user %s were set, and Modal does not tell which it has now: the engine sets them again within a minute or so", u.token.Identity)
	}
	return fmt.Sprintf("the environment roles of service user %s were set to %s, and Modal still reports %s: the engine sets them again within a minute or so",
		u.token.Identity, rolesText(u.want(u.reported)), rolesText(u.reported))
}

// narrowPrevious takes away the rights of previous tokens that the role does not have, and adds none. It returns the
// service users that it changed, and the reasons for which others keep more.
func (e *Engine) narrowPrevious(ctx context.Context, cfg *Config, cred *Credential, previous []*Revocation, c roleChange) (set []changedUser, kept []error) {
	for _, entry := range previous {
		if !entry.ours() || entry.Begun || entry.isOf(cred) || entry.Reason == reasonUnfinished {
			continue
		}
		changed, err := e.change(ctx, cfg, entry.Token, c)
		if gone := (*goneError)(nil); errors.As(err, &gone) {
			continue // it has no role any more
		}
		if err != nil {
			kept = append(kept, fmt.Errorf("the previous token %s keeps the environment roles that it had until it ends (%s): %w", entry.ID, e.NextStep(ctx, entry), err))
		}
		if changed && err == nil {
			set = append(set, changedUser{token: entry.Token, want: c.want})
		}
	}
	return set, kept
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
