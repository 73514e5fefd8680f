// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"

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
	answer, err := c.stub.WorkspaceMembersList(ctx, &emptypb.Empty{})
	if err != nil {
		return "", err
	}
	for _, member := range answer.GetMembers() {
		// Assumed: who has left stays listed with the date, and is listed again on return.
		if member.GetUserId() == userID && member.GetDeletedAt() == 0 {
			return memberRoles[member.GetMemberRole()], nil
		}
	}
	return "", nil
}
