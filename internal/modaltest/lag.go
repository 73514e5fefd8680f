// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"maps"
	"slices"
	"time"
)

// LagServiceUserList makes ServiceUserList answer with the state of d ago. A new service user is missing for
// its first d. A service user that is deleted from now on stays listed for another d. ServiceUserInfo and all
// other RPCs answer with the present state. Zero ends the lag.
//
// Assumed: Modal's list can lag. Modal does not say whether it can.
func (s *Server) LagServiceUserList(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listLag = d
	if d <= 0 {
		s.listLag, s.deleted = 0, nil
	}
}

// LagServiceUserRoles makes ServiceUserInfo answer with the environment roles of d ago. All other RPCs use
// the present roles, and the service user's access follows the present roles too. Zero ends the lag.
//
// Assumed: Modal's answer can lag.
func (s *Server) LagServiceUserRoles(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.infoLag = max(d, 0)
}

// deletedServiceUser is a deleted service user that a lagging list still shows.
type deletedServiceUser struct {
	*serviceUser
	at time.Time
}

// rememberDeleted keeps a service user that is being deleted, for a lagging list. The caller must lock s.mu.
func (s *Server) rememberDeleted(u *serviceUser) {
	if s.listLag > 0 {
		s.deleted = append(s.deleted, deletedServiceUser{u, s.now()})
	}
}

// listedWithLag returns the service users that ServiceUserList shows, oldest first. The caller must lock
// s.mu.
func (s *Server) listedWithLag() []*serviceUser {
	users := s.serviceUsers()
	if s.listLag == 0 {
		return users
	}
	shown := s.now().Add(-s.listLag)
	s.deleted = slices.DeleteFunc(s.deleted, func(u deletedServiceUser) bool { return !u.at.After(shown) })
	for _, u := range s.deleted {
		users = append(users, u.serviceUser)
	}
	users = slices.DeleteFunc(users, func(u *serviceUser) bool { return u.token.created.After(shown) })
	slices.SortFunc(users, func(a, b *serviceUser) int { return a.token.serial - b.token.serial })
	return users
}

// earlierRoles are the roles of a service user before a change.
type earlierRoles struct {
	roles roles
	until time.Time
}

// assign changes a role of the service user and keeps the earlier roles. The caller must lock s.mu.
func (u *serviceUser) assign(env environment, g grant) {
	u.earlier = append(u.earlier, earlierRoles{maps.Clone(u.roles), u.token.workspace.server.now()})
	u.roles.assign(env, g)
}

// rolesAt returns the roles that the service user had at a time. For a time before its creation it returns
// the first roles, which are none.
func (u *serviceUser) rolesAt(at time.Time) roles {
	for _, earlier := range u.earlier {
		if at.Before(earlier.until) {
			return earlier.roles
		}
	}
	return u.roles
}
