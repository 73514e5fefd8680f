// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

// serviceUserName is the rule of Modal's guide/service-users. Its length is
// undocumented; Assumed: 63, the strictest of the lengths in use.
var serviceUserName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// What is wrong with a new service user's name.
var (
	errBadName   = errors.New("a name is 1 to 63 of a-z, 0-9, - and _")
	errNameTaken = errors.New("the name is taken")
)

// serviceUser owns exactly one token. Assumed: it stays when the token expires
// (see WithExpiryDeletes), and goes when it is deleted.
type serviceUser struct {
	id, name  string
	createdBy *Member // nil: the workspace had no member
	scoped    bool
	minted    bool // made by ServiceUserCreate, not seeded
	token     *token
	roles     roles
	earlier   []earlierRoles // oldest first
}

// ServiceUserInfo describes a service user that was not deleted, expired or not,
// without its secret.
type ServiceUserInfo struct {
	ID        string // sv-…
	Name      string
	TokenID   string // ak-…
	Workspace string // the workspace's name
	Scoped    bool
	Roles     map[string]string // environment name to viewer, contributor or no-access
	Created   time.Time
	Expires   time.Time // zero: never
	LastUsed  time.Time // zero: never used
}

func (u *serviceUser) info() ServiceUserInfo {
	t := u.token
	info := ServiceUserInfo{
		ID: u.id, Name: u.name, TokenID: t.ID, Workspace: t.workspace.name,
		Scoped: u.scoped, Roles: map[string]string{},
		Created: t.created, Expires: t.expires, LastUsed: t.lastUsed,
	}
	for _, env := range t.workspace.environments {
		if role, assigned := u.roles[env.id]; assigned {
			info.Roles[env.name] = roleWords[role]
		}
	}
	return info
}

// directory holds a workspace's service users.
type directory struct{ byID, byName map[string]*serviceUser }

func newDirectory() directory {
	return directory{byID: map[string]*serviceUser{}, byName: map[string]*serviceUser{}}
}

func (d directory) add(u *serviceUser) { d.byID[u.id], d.byName[u.name] = u, u }

func (d directory) remove(u *serviceUser) {
	delete(d.byID, u.id)
	delete(d.byName, u.name)
}

// AddServiceUser is CreateServiceUser for names known to be good and free: it
// panics otherwise.
func (w *Workspace) AddServiceUser(name string, opts ...TokenOption) Token {
	t, err := w.CreateServiceUser(name, opts...)
	if err != nil {
		panic("modaltest: " + err.Error())
	}
	return t
}

// CreateServiceUser seeds a service user without a scope, as the workspace's
// owner would make one on the dashboard, and returns its one token. It fails when
// the name is malformed or taken.
func (w *Workspace) CreateServiceUser(name string, opts ...TokenOption) (Token, error) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	user := &serviceUser{name: name}
	if len(w.members) > 0 {
		user.createdBy = w.members[0]
	}
	if err := w.enroll(user, opts...); err != nil {
		return Token{}, fmt.Errorf("create service user %q: %w", name, err)
	}
	return user.token.Token, nil
}

// enroll completes the service user, with its token, and stores both. The error
// is errBadName or errNameTaken. The caller holds the server's lock.
func (w *Workspace) enroll(u *serviceUser, opts ...TokenOption) error {
	if !serviceUserName.MatchString(u.name) {
		return errBadName
	}
	w.server.expire()
	if w.serviceUsers.byName[u.name] != nil {
		return errNameTaken
	}
	u.id, u.roles = w.server.derivedID("sv-", w.id+" "+u.name, w.server.count("service users "+w.id+" "+u.name)), roles{}
	u.token = &token{workspace: w, serviceUser: u}
	w.server.mint(u.token, opts)
	w.serviceUsers.add(u)
	return nil
}

// SetServiceUserRole changes a service user's role in an environment behind everybody's back, as
// somebody on the dashboard would: viewer, contributor or no-access, "" for no assignment. It panics
// when there is no such service user, environment or role.
func (w *Workspace) SetServiceUserRole(name, environment, role string) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.server.expire()
	user := w.serviceUsers.byName[name]
	env, found := w.environment(environment)
	number, err := askedRole(pb.EnvironmentRoleSetRequest_builder{RoleStr: role}.Build())
	switch {
	case user == nil:
		panic(fmt.Sprintf("modaltest: set a service user's role: there is no service user %q", name))
	case !found || environment == "":
		panic(fmt.Sprintf("modaltest: set a service user's role: there is no environment %q", environment))
	case err != nil:
		panic(fmt.Sprintf("modaltest: set a service user's role: %v", err))
	}
	user.assign(env, number)
}

// SetServiceUsers says whether the workspace's plan has service users; it has
// them at first. Without them, the RPCs that manage them are FAILED_PRECONDITION.
func (w *Workspace) SetServiceUsers(available bool) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.planLacksServiceUsers = !available
}

// ServiceUsers describes the service users that were not deleted, oldest first.
func (s *Server) ServiceUsers() []ServiceUserInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var infos []ServiceUserInfo
	for _, u := range s.serviceUsers() {
		infos = append(infos, u.info())
	}
	return infos
}

// serviceUsers returns those of all workspaces, oldest first. The caller holds s.mu.
func (s *Server) serviceUsers() []*serviceUser {
	var users []*serviceUser
	for _, t := range s.listed() {
		if t.serviceUser != nil {
			users = append(users, t.serviceUser)
		}
	}
	return users
}

// Orphans names the service users that ServiceUserCreate made, that were not
// deleted, and that are not among the names answered for. Expired ones count.
func (s *Server) Orphans(answeredFor []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[string]bool, len(answeredFor))
	for _, name := range answeredFor {
		known[name] = true
	}
	var orphans []string
	for _, u := range s.serviceUsers() {
		if u.minted && !known[u.name] {
			orphans = append(orphans, u.name)
		}
	}
	return orphans
}

// FailOnOrphans fails the test when, at its end, [Server.Orphans] finds one among
// the names that answeredFor then returns. Cleanups registered before this call
// have not run by then; tb.Context has ended.
func (s *Server) FailOnOrphans(tb testing.TB, answeredFor func() []string) {
	tb.Helper()
	tb.Cleanup(func() {
		if orphans := s.Orphans(answeredFor()); len(orphans) > 0 {
			tb.Errorf("nobody answers for these live service users: %q", orphans)
		}
	})
}

// message is the service user as ServiceUserInfo and ServiceUserList answer it, with the given roles.
func (u *serviceUser) message(now time.Time, assigned roles) *pb.ServiceUser {
	t := u.token
	m := pb.ServiceUser_builder{
		Name: u.name, TokenId: t.ID, ServiceUserId: u.id, Scoped: u.scoped,
		CreatedAt: epoch(t.created), LastUsedAt: epoch(t.lastUsed),
		// Assumed: both words.
		Status:           "active",
		EnvironmentRoles: assigned.messages(t.workspace.environments),
	}
	if u.createdBy != nil {
		m.CreatedBy = u.createdBy.username
	}
	if !t.expires.IsZero() {
		m.ExpiresAt = new(epoch(t.expires))
	}
	if t.expired(now) {
		m.Status = "expired"
	}
	return m.Build()
}

// epoch is how the control plane writes most dates: seconds since 1970, 0 for never.
func epoch(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
