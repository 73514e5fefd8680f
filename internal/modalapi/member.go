// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// MemberRole is what a person may do in a workspace; empty when that is not known.
type MemberRole string

// The roles of members. Owners and managers may handle service users (Modal's guide/service-users).
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

// MemberRole returns the role of the user of that ID in the workspace of admin
// (WorkspaceMembersList), empty when the user is not listed or Modal names no role known here. Its
// errors are *Error.
func (c *Client) MemberRole(ctx context.Context, admin Token, userID string) (MemberRole, error) {
	ctx, err := as(ctx, admin)
	if err != nil {
		return "", err
	}
	clean := newRedactor(admin.Secret)
	members := list{what: "members", field: 1, most: maxMembers, limit: maxList, clean: clean}
	found, err := listOf(ctx, c, pb.ModalClient_WorkspaceMembersList_FullMethodName, &emptypb.Empty{}, members, clean.member)
	if err != nil {
		return "", err
	}
	// Assumed: who has left stays listed with the date, and is listed again on return.
	i := slices.IndexFunc(found, func(m member) bool { return m.userID == userID && !m.left })
	if i < 0 {
		return "", nil
	}
	return found[i].role, nil
}

// member is a person in a workspace, as far as the engine asks.
type member struct {
	userID string
	role   MemberRole
	left   bool
}

func (r *redactor) member(entry []byte) (m member, err error) {
	err = eachField(entry, func(field int, v value) error {
		switch field {
		case 3: // member_role
			m.role = memberRoles[pb.MemberRole(v.number)] //nolint:gosec // an enum is cut to 32 bits, as protobuf does
		case 7: // deleted_at
			m.left = v.number != 0
		case 8: // user_id
			m.userID = r.id(r.text(v))
		}
		return nil
	})
	return m, err
}
