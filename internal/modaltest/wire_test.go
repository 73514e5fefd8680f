// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// deleteToken calls TokenDelete, which the generated stubs do not have, with the given token.
func (w *world) deleteToken(t *testing.T, caller modaltest.Token, id string) error {
	t.Helper()
	req := pb.TokenDeleteRequest_builder{TokenId: id}.Build()
	return w.conn.Invoke(withToken(t, caller), "/modal.client.ModalClient/TokenDelete", req, &emptypb.Empty{})
}

// setDisabled calls TokenDisable or TokenEnable, whose messages the generated stubs do not have.
func (w *world) setDisabled(t *testing.T, caller modaltest.Token, method string, ids ...string) error {
	t.Helper()
	var fields []byte
	for _, id := range ids {
		fields = protowire.AppendString(protowire.AppendTag(fields, 1, protowire.BytesType), id)
	}
	req := &emptypb.Empty{}
	req.ProtoReflect().SetUnknown(fields)
	return w.conn.Invoke(withToken(t, caller), "/modal.client.ModalClient/"+method, req, &emptypb.Empty{})
}

// listedToken contains the fields of a token in TokensList, by field number.
type listedToken map[protowire.Number]any

// listTokens decodes TokensList's answer.
func (w *world) listTokens(t *testing.T, caller modaltest.Token) ([]listedToken, error) {
	t.Helper()
	resp := &emptypb.Empty{}
	if err := w.conn.Invoke(withToken(t, caller), "/modal.client.ModalClient/TokensList", &emptypb.Empty{}, resp); err != nil {
		return nil, err
	}
	var tokens []listedToken
	readFields(t, resp.ProtoReflect().GetUnknown(), func(number protowire.Number, value any) {
		require.EqualValues(t, 1, number)
		token := listedToken{}
		readFields(t, value.([]byte), func(number protowire.Number, value any) { token[number] = value })
		tokens = append(tokens, token)
	})
	return tokens, nil
}

func readFields(t *testing.T, message []byte, each func(protowire.Number, any)) {
	t.Helper()
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		require.Positive(t, n)
		message = message[n:]
		var value any
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		case protowire.Fixed64Type:
			value, n = protowire.ConsumeFixed64(message)
		case protowire.VarintType:
			value, n = protowire.ConsumeVarint(message)
		default:
			require.FailNow(t, "no field of Modal's is so", "%d: %d", number, kind)
		}
		require.GreaterOrEqual(t, n, 0)
		message = message[n:]
		each(number, value)
	}
}
