// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// auditLog returns the encoded entries of the audit log between two times.
func (w *world) auditLog(t *testing.T, token modaltest.Token, query string, oldest, newest time.Time) ([]string, error) {
	t.Helper()
	req, resp := &emptypb.Empty{}, &emptypb.Empty{}
	fields := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), query)
	fields = protowire.AppendVarint(protowire.AppendTag(fields, 2, protowire.VarintType), uint64(oldest.UnixMilli()))
	fields = protowire.AppendVarint(protowire.AppendTag(fields, 3, protowire.VarintType), uint64(newest.UnixMilli()))
	req.ProtoReflect().SetUnknown(fields)
	err := w.conn.Invoke(withToken(t, token), "/modal.client.ModalClient/AuditLogList", req, resp)
	return unknownTexts(t, resp, 1), err
}

func TestAuditLogList_HasChangesButNotThePlainUseOfAToken(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	w.server.AddWorkspace("globex").AddMember("mallory")
	start := c.Now()
	robot, _ := w.mint(t, "ci")
	c.Advance(time.Minute)
	require.NoError(t, whoAmI(withToken(t, robot), w.client))
	require.True(t, w.server.DeleteToken(robot.ID), "a deletion on the dashboard")

	entries, err := w.auditLog(t, w.token, "", start, c.Now())
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Contains(t, entries[0], "service_user.create")
	require.Contains(t, entries[0], w.owner.ID())
	require.NotContains(t, entries[0], robot.Secret)
	for _, none := range []time.Time{start, start.Add(-time.Hour)} {
		entries, err = w.auditLog(t, w.token, "", none, start)
		require.NoError(t, err)
		require.Empty(t, entries, "the newest bound is exclusive")
	}

	_, err = w.auditLog(t, w.token, "actor:ada", start, c.Now())
	requireCode(t, codes.InvalidArgument, err)
	_, err = w.auditLog(t, w.workspace.AddMember("bob").NewToken(), "", start, c.Now())
	requireCode(t, codes.PermissionDenied, err)
	_, err = w.auditLog(t, w.workspace.AddServiceUser("robot"), "", start, c.Now())
	requireCode(t, codes.PermissionDenied, err)
}
