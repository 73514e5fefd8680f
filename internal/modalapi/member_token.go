// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"errors"
	"math"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// These calls are newer than the generated stubs: Modal's Python client has them since 1.6.3. The stubs
// have the message of the first.
const (
	tokenDelete = "/modal.client.ModalClient/TokenDelete"
	tokensList  = "/modal.client.ModalClient/TokensList"
)

// DeleteToken deletes the member token of that ID with caller, which may be that very token
// (TokenDelete): Modal's Python client 1.6.4 ends a replaced token so, and takes a rejection for its end.
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

// MemberToken describes a member's token. An ID that cannot be shown is empty. Times are in UTC, and zero
// where Modal has none.
type MemberToken struct {
	ID, WorkspaceID, UserID string
	// Disabled says that Modal rejects the token until somebody enables it again.
	Disabled                         bool
	CreatedAt, ExpiresAt, LastUsedAt time.Time
}

// MemberTokens returns the tokens of members that caller may see, in Modal's order (TokensList): owners
// and managers see all of their workspace, other members their own, and service users none. Its errors are
// *Error, KindUnsupported where the server does not have the call.
func (c *Client) MemberTokens(ctx context.Context, caller Token) ([]MemberToken, error) {
	ctx, err := as(ctx, caller)
	if err != nil {
		return nil, err
	}
	var answer emptypb.Empty // the stubs have no message: all of the answer stays in its unknown fields
	if err = c.conn.Invoke(ctx, tokensList, &emptypb.Empty{}, &answer); err != nil {
		return nil, err
	}
	clean := newRedactor(caller.Secret)
	var tokens []MemberToken
	err = eachField(answer.ProtoReflect().GetUnknown(), func(field protowire.Number, value wireValue) error {
		if field != 1 {
			return nil
		}
		if len(tokens) == maxMemberTokens {
			return errors.New(tooMany("tokens of members", maxMemberTokens+1, maxMemberTokens))
		}
		token, err := newMemberToken(value.bytes, clean)
		tokens = append(tokens, token)
		return err
	})
	if err != nil {
		return nil, c.distrust("TokensList", err.Error())
	}
	return tokens, nil
}

func newMemberToken(entry []byte, r redactor) (token MemberToken, err error) {
	return token, eachField(entry, func(field protowire.Number, value wireValue) error {
		switch field {
		case 1:
			token.ID = r.id(string(value.bytes))
		case 2:
			token.CreatedAt = fromEpoch(value.double())
		case 3:
			token.WorkspaceID = r.id(string(value.bytes))
		case 4:
			token.UserID = r.id(string(value.bytes))
		case 5:
			token.LastUsedAt = fromEpoch(value.double())
		case 11:
			token.ExpiresAt = fromEpoch(value.double())
		case 12:
			token.Disabled = value.number != 0
		}
		return nil
	})
}

// wireValue is the value of a field as it was sent: bytes, or the number behind all other types.
type wireValue struct {
	bytes  []byte
	number uint64
}

func (v wireValue) double() float64 { return math.Float64frombits(v.number) }

// eachField calls use with each field of a message, and stops at its first error. A group is passed over.
func eachField(message []byte, use func(protowire.Number, wireValue) error) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errMalformed
		}
		message = message[n:]
		var value wireValue
		switch kind {
		case protowire.BytesType:
			value.bytes, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			value.number, n = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			value.number, n = protowire.ConsumeFixed64(message)
		default:
			if n = protowire.ConsumeFieldValue(field, kind, message); n >= 0 {
				message = message[n:]
				continue
			}
		}
		if n < 0 {
			return errMalformed
		}
		message = message[n:]
		if err := use(field, value); err != nil {
			return err
		}
	}
	return nil
}

var errMalformed = errors.New("it is no message of Modal's")
