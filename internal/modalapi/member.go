// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// MemberRole names the rights of a person in a workspace. It is empty if the role is not known.
type MemberRole string

// These are the roles of members. Owners and managers may manage service users (Modal's guide/service-users).
const (
	MemberOwner   MemberRole = "owner"
	MemberManager MemberRole = "manager"
	MemberUser    MemberRole = "user"
)

var memberRoles = map[pb.MemberRole]MemberRole{
	pb.MemberRole_MEMBER_ROLE_OWNER:   MemberOwner,
	pb.MemberRole_MEMBER_ROLE_MANAGER: MemberManager,
	pb.MemberRole_MEMBER_ROLE_USER:    MemberUser,
}

// MemberRole returns the role of the user with that ID in the workspace of the admin token
// (WorkspaceMembersList). The role is empty if the user is not listed or if this package does not know the
// role. MemberRole returns an *Error.
func (c *Client) MemberRole(ctx context.Context, admin Token, userID string) (MemberRole, error) {
	found, err := c.Members(ctx, admin)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(found, func(m Member) bool { return m.UserID == userID && !m.Left })
	if i < 0 {
		return "", nil
	}
	return found[i].Role, nil
}

// Member is a person in a workspace, or a person who has left it.
type Member struct {
	UserID string
	Role   MemberRole
	// Left reports that the person has left. Assumed: the person stays listed with a date, and gets a second entry after a
	// return.
	Left bool
}

// Members returns the people of the workspace, in Modal's order (WorkspaceMembersList). It returns an *Error.
func (c *Client) Members(ctx context.Context, t Token) ([]Member, error) {
	ctx, err := withToken(ctx, t)
	if err != nil {
		return nil, err
	}
	clean := newRedactor(t.Secret)
	members := list{what: "members", field: 1, most: maxMembers, limit: maxList, clean: clean}
	return listOf(ctx, c, pb.ModalClient_WorkspaceMembersList_FullMethodName, &emptypb.Empty{}, members, clean.member)
}

func (r *redactor) member(entry []byte) (m Member, err error) {
	err = eachField(entry, func(field int, v value) error {
		switch field {
		case 3: // member_role
			m.Role = memberRoles[pb.MemberRole(v.number)] //nolint:gosec // an enum is cut to 32 bits, as protobuf does
		case 7: // deleted_at
			m.Left = v.number != 0
		case 8: // user_id
			m.UserID = r.id(r.text(v))
		}
		return nil
	})
	return m, err
}
