// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"maps"
	"slices"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

// LagServiceUserList makes ServiceUserList answer as of d ago. A new service user is missing for its first d.
// A service user that is deleted from now on stays listed for another d. ServiceUserInfo and all other RPCs
// know the present. Zero ends the lag.
//
// Assumed: such a lag exists. Nobody outside Modal knows whether the list can lag.
func (s *Server) LagServiceUserList(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listLag = d
	if d <= 0 {
		s.listLag, s.deleted = 0, nil
	}
}

// LagServiceUserRoles makes ServiceUserInfo answer the environment roles that a service user had d ago.
// All other RPCs follow the present roles, and so does the access of the service user. Zero ends the lag.
//
// Assumed: such a lag exists, as above.
func (s *Server) LagServiceUserRoles(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.infoLag = max(d, 0)
}

// deletedServiceUser is a service user that a list which lags still shows.
type deletedServiceUser struct {
	*serviceUser
	at time.Time
}

// keepForTheList remembers a service user that is being deleted, for a list that lags. The caller holds s.mu.
func (s *Server) keepForTheList(u *serviceUser) {
	if s.listLag > 0 {
		s.deleted = append(s.deleted, deletedServiceUser{u, s.now()})
	}
}

// listedLate returns the service users that ServiceUserList shows, oldest first. The caller holds s.mu.
func (s *Server) listedLate() []*serviceUser {
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

// earlierRoles are the roles that a service user had until a change.
type earlierRoles struct {
	roles roles
	until time.Time
}

// assign changes a role of the service user and remembers the earlier ones. The caller holds s.mu.
func (u *serviceUser) assign(env environment, role pb.EnvironmentRole) {
	u.earlier = append(u.earlier, earlierRoles{maps.Clone(u.roles), u.token.workspace.server.now()})
	u.roles.assign(env, role)
}

// rolesAt returns the roles that the service user had at a time: before its creation those of its beginning,
// which are none.
func (u *serviceUser) rolesAt(at time.Time) roles {
	for _, earlier := range u.earlier {
		if at.Before(earlier.until) {
			return earlier.roles
		}
	}
	return u.roles
}
