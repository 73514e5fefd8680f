// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"fmt"
	"slices"
	"time"
)

// Workspace is an emulated workspace.
type Workspace struct {
	server       *Server
	id, name     string
	environments []environment // the first one is the default
	members      []*Member
	customRoles  []*customRole
	serviceUsers directory

	planLacksServiceUsers bool
}

// Member is a person in a workspace.
type Member struct {
	workspace    *Workspace
	id, username string
	memberID     string // Assumed: differs from the user's ID
	role         Role
	roles        roles
	joined       time.Time
	left         time.Time // zero: still a member
}

type environment struct {
	id, name string
	created  time.Time
	secrets  map[string]string // name to ID
}

// AddWorkspace creates a workspace with the default environment "main". It panics if the name is in use.
func (s *Server) AddWorkspace(name string) *Workspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findWorkspace(name) != nil {
		panic(fmt.Sprintf("modaltest: add workspace %q: the name is taken", name))
	}
	w := &Workspace{server: s, id: randomID("ac-"), name: name, serviceUsers: newDirectory()}
	w.addEnvironment("main")
	s.workspaces = append(s.workspaces, w)
	return w
}

// Workspace returns the workspace with that name, or nil.
func (s *Server) Workspace(name string) *Workspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findWorkspace(name)
}

// Workspaces returns all workspaces, oldest first.
func (s *Server) Workspaces() []*Workspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.workspaces)
}

func (s *Server) findWorkspace(name string) *Workspace {
	i := slices.IndexFunc(s.workspaces, func(w *Workspace) bool { return w.name == name })
	if i < 0 {
		return nil
	}
	return s.workspaces[i]
}

// ID returns the workspace's ID, ac-….
func (w *Workspace) ID() string { return w.id }

// Name returns the workspace's name.
func (w *Workspace) Name() string {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	return w.name
}

// Rename gives the workspace another name. It panics if the name is in use.
func (w *Workspace) Rename(name string) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if w.server.findWorkspace(name) != nil {
		panic(fmt.Sprintf("modaltest: rename workspace %q to %q: the name is taken", w.name, name))
	}
	w.name = name
}

// AddEnvironment creates an environment. It panics if the name is in use.
func (w *Workspace) AddEnvironment(name string) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if _, taken := w.environment(name); taken {
		panic(fmt.Sprintf("modaltest: add environment %q: the name is taken", name))
	}
	w.addEnvironment(name)
}

// addEnvironment creates an environment with an unused name. The caller must lock the server.
func (w *Workspace) addEnvironment(name string) environment {
	env := environment{id: randomID("en-"), name: name, created: w.server.now(), secrets: map[string]string{}}
	w.environments = append(w.environments, env)
	return env
}

// environment finds an environment. The empty name means the default environment. The caller must lock the
// server.
func (w *Workspace) environment(name string) (environment, bool) {
	if name == "" {
		return w.environments[0], true
	}
	i := slices.IndexFunc(w.environments, func(e environment) bool { return e.name == name })
	if i < 0 {
		return environment{}, false
	}
	return w.environments[i], true
}

// AddMember adds a person. The first member owns the workspace. Every later member is a user until
// [Member.SetRole]. It panics if the username is in use.
func (w *Workspace) AddMember(username string) *Member {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if w.findMember(username) != nil {
		panic(fmt.Sprintf("modaltest: add member %q: the name is taken", username))
	}
	m := &Member{
		workspace: w, id: randomID("us-"), username: username, memberID: randomID("mb-"),
		role: RoleUser, roles: roles{}, joined: w.server.now(),
	}
	if len(w.members) == 0 {
		m.role = RoleOwner
	}
	w.members = append(w.members, m)
	return m
}

// Member returns the member with that username, or nil.
func (w *Workspace) Member(username string) *Member {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	return w.findMember(username)
}

// Members returns all members, oldest first, without those who left.
func (w *Workspace) Members() []*Member {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.members), func(m *Member) bool { return !m.left.IsZero() })
}

// Leave ends the person's membership and deletes the person's tokens.
//
// Assumed: WorkspaceMembersList goes on listing the person, with deleted_at. A person who comes back gets a second entry.
// Service users that the person created stay.
func (m *Member) Leave() {
	s := m.workspace.server
	s.mu.Lock()
	defer s.mu.Unlock()
	m.left = s.now()
	for _, t := range s.listed() {
		if t.member == m {
			s.deleteToken(t, 0)
		}
	}
}

func (w *Workspace) findMember(username string) *Member {
	i := slices.IndexFunc(w.members, func(m *Member) bool { return m.username == username && m.left.IsZero() })
	if i < 0 {
		return nil
	}
	return w.members[i]
}

// ID returns the member's ID, us-….
func (m *Member) ID() string { return m.id }

// Username returns the member's name.
func (m *Member) Username() string { return m.username }

// Role returns the member's role in the workspace.
func (m *Member) Role() Role {
	m.workspace.server.mu.Lock()
	defer m.workspace.server.mu.Unlock()
	return m.role
}

// NewToken creates a token for the member. A member may have any number of tokens.
func (m *Member) NewToken(opts ...TokenOption) Token {
	s := m.workspace.server
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mint(&token{workspace: m.workspace, member: m}, opts)
}
