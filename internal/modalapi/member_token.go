// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"errors"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// tokenDelete is newer than the generated stubs, which have its message: Modal's Python client has it
// since 1.6.3.
const tokenDelete = "/modal.client.ModalClient/TokenDelete"

// DeleteToken deletes the member token of that ID with caller, which may be that very token
// (TokenDelete): Modal's Python client 1.6.4 ends a replaced token so, and takes a refusal for its end.
// Owners and managers may delete any token of their workspace, others their own. Its errors are *Error:
// KindRefused also when a first attempt did the work and only its answer was lost. An empty ID is not
// sent and is no *Error.
func (c *Client) DeleteToken(ctx context.Context, caller Token, id string) error {
	if id == "" {
		return errors.New("deleting a token: its ID is missing")
	}
	ctx, err := as(ctx, caller)
	if err != nil {
		return err
	}
	return c.conn.Invoke(ctx, tokenDelete, pb.TokenDeleteRequest_builder{TokenId: id}.Build(), &emptypb.Empty{})
}
