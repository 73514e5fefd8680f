// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"bytes"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestMemberTokens_AreListedWithTheirOwnerStateAndDates(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 3, 1, 12, 0, 0, 250_000_000, time.UTC)
	server := modaltest.Start(t, modaltest.WithClock(func() time.Time { return created }))
	workspace := server.AddWorkspace("acme")
	ada, bob := workspace.AddMember("ada"), workspace.AddMember("bob")
	admin, own := ada.NewToken(), bob.NewToken(modaltest.Named("laptop"), modaltest.ExpiresAt(created.Add(time.Hour)))
	require.True(t, server.Use(own.ID, own.Secret))
	server.SetDisabled(own.ID, true)
	workspace.AddServiceUser("robot")
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	tokens, err := client.MemberTokens(t.Context(), modalapi.Token{ID: admin.ID, Secret: admin.Secret})

	require.NoError(t, err)
	require.Equal(t, []modalapi.MemberToken{
		{ID: admin.ID, WorkspaceID: workspace.ID(), UserID: ada.ID(), CreatedAt: created, LastUsedAt: created},
		{
			ID: own.ID, WorkspaceID: workspace.ID(), UserID: bob.ID(), Disabled: true,
			CreatedAt: created, ExpiresAt: created.Add(time.Hour), LastUsedAt: created,
		},
	}, tokens)
}

func TestMemberTokens_ServiceUserMayNotAsk(t *testing.T) {
	t.Parallel()
	server, _, client, minted := withServiceUser(t)

	_, err := client.MemberTokens(t.Context(), minted.Token)

	require.Equal(t, modalapi.KindForbidden, modalapi.KindOf(err))
	require.ErrorContains(t, err, "Modal says that this token may not list the members' tokens: ")
	require.Len(t, server.Calls("TokensList"), 1)
}

func TestMemberTokens_ServerWithoutTheMethodIsUnsupported(t *testing.T) {
	t.Parallel()
	for name, serverURL := range map[string]string{
		"UNIMPLEMENTED":              serveRequests(t, nil),
		"grpclib":                    grpclib(t),
		"grpclib and an empty frame": grpclibWithFrame(t),
	} {
		_, err := newClient(t, modalapi.Options{ServerURL: serverURL}).MemberTokens(t.Context(), someToken)

		require.Equal(t, modalapi.KindUnsupported, modalapi.KindOf(err), name)
	}
}

// grpclib starts a server that answers as a grpclib server does for a method that it does not have.
func grpclib(t *testing.T) (serverURL string) {
	t.Helper()
	server, _ := emulated(t)
	server.Inject("*", modaltest.Fault{NoContentType: true, Times: -1})
	return server.URL()
}

// grpclibWithFrame starts a server like grpclib, whose answer ends with an empty frame of data.
func grpclibWithFrame(t *testing.T) (serverURL string) {
	t.Helper()
	return startHTTP2(t, httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_ = http.NewResponseController(w).Flush()
	})))
}

// tokenEntry encodes an entry of TokensList. All text fields have the given text, and all dates the given
// date.
func tokenEntry(text string, date float64) []byte {
	var entry []byte
	for _, field := range []protowire.Number{1, 3, 4, 6, 7, 10} {
		entry = protowire.AppendString(protowire.AppendTag(entry, field, protowire.BytesType), text)
	}
	for _, field := range []protowire.Number{2, 5, 11} {
		entry = protowire.AppendFixed64(protowire.AppendTag(entry, field, protowire.Fixed64Type), math.Float64bits(date))
	}
	entry = protowire.AppendVarint(protowire.AppendTag(entry, 12, protowire.VarintType), 2)
	entry = protowire.AppendFixed32(protowire.AppendTag(entry, 99, protowire.Fixed32Type), 7)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)
}

func TestMemberTokens_LeaveUnprintableFieldsEmpty(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		client := newClient(t, modalapi.Options{ServerURL: serveBytes(t, tokenEntry(text, math.Inf(1)))})

		tokens, err := client.MemberTokens(t.Context(), someToken)

		require.NoError(t, err, what)
		require.Equal(t, []modalapi.MemberToken{{Disabled: true}}, tokens, what)
	}
}

func TestMemberTokens_MalformedAnswerIsNotTrusted(t *testing.T) {
	t.Parallel()
	for what, body := range map[string][]byte{
		"an entry cut short":  tokenEntry("ak-1", 1)[:20],
		"an entry of no kind": protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xff}),
		"too many entries":    bytes.Repeat([]byte{0x0a, 0x00}, 200_001),
		"no field at all":     []byte(strings.Repeat("\xff", 100)),
	} {
		client := newClient(t, modalapi.Options{ServerURL: serveBytes(t, body)})

		tokens, err := client.MemberTokens(t.Context(), someToken)

		require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err), what)
		require.Nil(t, tokens)
	}
}

func TestMemberTokens_FailureKeepsItsKind(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	server.Inject("TokensList", modaltest.Fault{Code: codes.FailedPrecondition, Message: "no"})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).MemberTokens(t.Context(), token)

	require.Equal(t, modalapi.KindConflict, modalapi.KindOf(err))
}
