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

// serviceUserName is the rule of Modal's guide/service-users. Assumed: a length of at most 63, the strictest
// limit in use. Modal does not document the length.
var serviceUserName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

// These errors say why a new service user's name is not accepted.
var (
	errBadName   = errors.New("a name is 1 to 63 of a-z, 0-9, - and _")
	errNameTaken = errors.New("the name is taken")
)

// serviceUser owns exactly one token. Assumed: the service user still exists after the token expires (see
// WithExpiryDeletes), and is deleted together with it.
type serviceUser struct {
	id, name  string
	createdBy *Member // nil: the workspace had no member
	scoped    bool
	minted    bool // created by ServiceUserCreate, not by a test
	token     *token
	roles     roles
	earlier   []earlierRoles // oldest first
}

// ServiceUserInfo describes an existing service user, expired or not, without its secret.
type ServiceUserInfo struct {
	ID        string // sv-…
	Name      string
	TokenID   string // ak-…
	Workspace string // the workspace's name
	Scoped    bool
	Roles     map[string]string // environment name to viewer, contributor, no-access or a custom role
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
		if g, assigned := u.roles[env.id]; assigned {
			info.Roles[env.name] = g.word()
		}
	}
	return info
}

// directory contains a workspace's service users.
type directory struct{ byID, byName map[string]*serviceUser }

func newDirectory() directory {
	return directory{byID: map[string]*serviceUser{}, byName: map[string]*serviceUser{}}
}

func (d directory) add(u *serviceUser) { d.byID[u.id], d.byName[u.name] = u, u }

func (d directory) remove(u *serviceUser) {
	delete(d.byID, u.id)
	delete(d.byName, u.name)
}

// AddServiceUser works like CreateServiceUser and panics if the name is malformed or in use.
func (w *Workspace) AddServiceUser(name string, opts ...TokenOption) Token {
	t, err := w.CreateServiceUser(name, opts...)
	if err != nil {
		panic("modaltest: " + err.Error())
	}
	return t
}

// CreateServiceUser creates an unscoped service user, as the workspace's owner does on the dashboard, and
// returns its token. It fails if the name is malformed or in use.
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

// enroll completes the service user, creates its token and stores both. The error is errBadName or
// errNameTaken. The caller must lock the server.
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

// SetServiceUserRole changes a service user's role in an environment without an RPC, as a person on the
// dashboard does. The role is viewer, contributor, no-access or the name of a custom role; "" removes the
// assignment. It panics if the service user, the environment or the role does not exist.
func (w *Workspace) SetServiceUserRole(name, environment, role string) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.server.expire()
	user := w.serviceUsers.byName[name]
	env, found := w.environment(environment)
	g, err := w.requestedRole(pb.EnvironmentRoleSetRequest_builder{RoleStr: role}.Build())
	switch {
	case user == nil:
		panic(fmt.Sprintf("modaltest: set a service user's role: there is no service user %q", name))
	case !found || environment == "":
		panic(fmt.Sprintf("modaltest: set a service user's role: there is no environment %q", environment))
	case err != nil:
		panic(fmt.Sprintf("modaltest: set a service user's role: %v", err))
	}
	user.assign(env, g)
}

// SetServiceUsers sets whether the workspace's plan has service users. A new workspace has them. Without
// them, the RPCs that manage service users are FAILED_PRECONDITION.
func (w *Workspace) SetServiceUsers(available bool) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.planLacksServiceUsers = !available
}

// ServiceUsers describes all existing service users, oldest first.
func (s *Server) ServiceUsers() []ServiceUserInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var infos []ServiceUserInfo
	for _, u := range s.serviceUsers() {
		infos = append(infos, u.info())
	}
	return infos
}

// serviceUsers returns the service users of all workspaces, oldest first. The caller must lock s.mu.
func (s *Server) serviceUsers() []*serviceUser {
	var users []*serviceUser
	for _, t := range s.listed() {
		if t.serviceUser != nil {
			users = append(users, t.serviceUser)
		}
	}
	return users
}

// Orphans returns the names of the service users that ServiceUserCreate created, that still exist, and that
// are not among the given names. It includes expired service users.
func (s *Server) Orphans(tracked []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[string]bool, len(tracked))
	for _, name := range tracked {
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

// FailOnOrphans fails the test if, at its end, [Server.Orphans] finds a service user that is not among the
// names from tracked. At that time tb.Context has ended, and the cleanups that were registered before this
// call have not run yet.
func (s *Server) FailOnOrphans(tb testing.TB, tracked func() []string) {
	tb.Helper()
	tb.Cleanup(func() {
		if orphans := s.Orphans(tracked()); len(orphans) > 0 {
			tb.Errorf("these service users still exist, and the test does not track them: %q", orphans)
		}
	})
}

// message returns the answer of ServiceUserInfo and ServiceUserList for the service user, with the given
// roles.
func (u *serviceUser) message(now time.Time, assigned roles) *pb.ServiceUser {
	t := u.token
	m := pb.ServiceUser_builder{
		Name: u.name, TokenId: t.ID, ServiceUserId: u.id, Scoped: u.scoped,
		CreatedAt: epoch(t.created), LastUsedAt: epoch(t.lastUsed),
		// Assumed: the words "active" and "expired".
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

// epoch converts a time to the format of most times in the API: seconds since 1970, and 0 for never.
func epoch(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}
