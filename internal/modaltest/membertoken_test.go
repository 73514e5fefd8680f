// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestTokenDelete_MemberTokenDeletesItselfAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.workspace.AddMember("bob").NewToken()
	require.NoError(t, w.deleteToken(t, token, token.ID))
	requireRejected(t, whoAmI(withToken(t, token), w.client), "Token not found")
	requireCode(t, codes.Unauthenticated, w.deleteToken(t, token, token.ID))
	require.Equal(t, token.ID, w.server.Calls("TokenDelete")[0].TokenID)
	require.Equal(t, codes.OK, w.server.Calls("TokenDelete")[0].Code)
	require.Len(t, w.server.Tokens(), 1, "the owner's is left")
}

func TestTokenDelete_AllowsOwnersManagersAndTheOwnToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, eve := w.workspace.AddMember("bob"), w.workspace.AddMember("eve")
	eve.SetRole(modaltest.RoleManager)
	robot := w.workspace.AddServiceUser("robot")
	stranger := w.server.AddWorkspace("globex").AddMember("mallory").NewToken()
	own, managers := bob.NewToken(), eve.NewToken()
	for name, test := range map[string]struct {
		caller modaltest.Token
		target string
		want   codes.Code
	}{
		"own older one":         {own, bob.NewToken().ID, codes.OK},
		"own expired one":       {own, bob.NewToken(modaltest.ExpiresAt(time.Unix(1, 0))).ID, codes.OK},
		"owner's by a user":     {own, w.token.ID, codes.PermissionDenied},
		"user's by the owner":   {w.token, bob.NewToken().ID, codes.OK},
		"user's by a manager":   {managers, bob.NewToken().ID, codes.OK},
		"owner's by a manager":  {managers, w.owner.NewToken().ID, codes.OK},
		"other workspace's":     {w.token, stranger.ID, codes.NotFound},
		"unknown":               {w.token, "ak-0000000000000000000000", codes.NotFound},
		"none":                  {w.token, "", codes.NotFound},
		"service user's":        {w.token, robot.ID, codes.PermissionDenied},
		"a service user's own":  {robot, robot.ID, codes.PermissionDenied},
		"by a service user":     {robot, own.ID, codes.PermissionDenied},
		"unknown, service user": {robot, "ak-0000000000000000000000", codes.PermissionDenied},
	} {
		before := len(w.server.Tokens())
		err := w.deleteToken(t, test.caller, test.target)
		require.Equal(t, test.want.String(), status.Code(err).String(), name)
		gone := map[bool]int{true: 1}[test.want == codes.OK]
		require.Len(t, w.server.Tokens(), before-gone, name)
	}
	require.Len(t, w.server.ServiceUsers(), 1)
}

func TestTokenDelete_DeletedTokenCanStayAcceptedForAWhile(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	w.server.KeepDeletedFor(time.Minute)
	token := w.owner.NewToken()
	require.NoError(t, w.deleteToken(t, token, token.ID))
	require.NoError(t, whoAmI(withToken(t, token), w.client))
	requireCode(t, codes.NotFound, w.deleteToken(t, token, token.ID))
	require.Len(t, w.server.Tokens(), 1)
	c.Advance(time.Minute)
	requireRejected(t, whoAmI(withToken(t, token), w.client), "Token not found")
}

func TestTokenDelete_OnlyOneOfTwoConcurrentCallsSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.owner.NewToken()
	var wg sync.WaitGroup
	ended := make(chan error, 20)
	for i := range cap(ended) {
		caller := []modaltest.Token{w.token, token}[i%2]
		wg.Go(func() { ended <- w.deleteToken(t, caller, token.ID) })
	}
	wg.Wait()
	close(ended)
	seen := map[codes.Code]int{}
	for err := range ended {
		seen[status.Code(err)]++
	}
	require.Equal(t, 1, seen[codes.OK], "%v", seen)
	require.Equal(t, cap(ended)-1, seen[codes.NotFound]+seen[codes.Unauthenticated], "%v", seen)
	require.False(t, w.server.Accepts(token.ID, token.Secret))
}

func TestTokenDelete_MissingMethodHasTwoForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for want, fault := range map[codes.Code]modaltest.Fault{
		codes.Unimplemented: {Code: codes.Unimplemented},
		codes.Unknown:       {NoContentType: true},
	} {
		w.server.Inject("TokenDelete", fault)
		// The answer comes before authentication, as from a server without the method.
		requireCode(t, want, w.deleteToken(t, modaltest.Token{ID: "ak-nobody", Secret: "as-wrong"}, w.token.ID))
	}
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	w.server.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	requireCode(t, codes.Unavailable, w.deleteToken(t, w.token, w.token.ID))
	requireRejected(t, whoAmI(withToken(t, w.token), w.client), "Token not found")
}

func TestTokenDisable_RejectsTokensUntilTheyAreEnabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.workspace.AddMember("bob")
	own, other := bob.NewToken(), bob.NewToken()
	require.NoError(t, w.setDisabled(t, w.token, "TokenDisable", own.ID, other.ID))
	for _, token := range []modaltest.Token{own, other} {
		requireRejected(t, whoAmI(withToken(t, token), w.client), "Token not found")
		require.False(t, w.server.Accepts(token.ID, token.Secret))
	}
	require.True(t, w.server.Tokens()[1].Disabled)
	require.NoError(t, w.setDisabled(t, w.token, "TokenEnable", own.ID))
	require.NoError(t, whoAmI(withToken(t, own), w.client))
	require.NoError(t, w.deleteToken(t, own, other.ID), "a disabled token can be deleted")

	requireCode(t, codes.PermissionDenied, w.setDisabled(t, own, "TokenDisable", own.ID, w.token.ID))
	requireCode(t, codes.NotFound, w.setDisabled(t, own, "TokenDisable", own.ID, other.ID))
	requireCode(t, codes.InvalidArgument, w.setDisabled(t, own, "TokenDisable"))
	require.NoError(t, whoAmI(withToken(t, own), w.client), "either all tokens change or none")
	require.NoError(t, w.setDisabled(t, own, "TokenDisable", own.ID))
	requireRejected(t, whoAmI(withToken(t, own), w.client), "Token not found")
}

func TestSetDisabled_WorksLikeTheDashboard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.SetDisabled(w.token.ID, true)
	requireRejected(t, whoAmI(withToken(t, w.token), w.client), "Token not found")
	w.server.SetDisabled(w.token.ID, false)
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	require.Panics(t, func() { w.server.SetDisabled("ak-nobody", true) })
}

func TestTokensList_DescribesTheTokensThatTheCallerMayDelete(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	bob := w.workspace.AddMember("bob")
	own := bob.NewToken(modaltest.Named("laptop"), modaltest.ExpiresAt(c.Now().Add(time.Hour)))
	robot := w.workspace.AddServiceUser("robot")
	w.server.AddWorkspace("globex").AddMember("mallory").NewToken()

	listed, err := w.listTokens(t, own)
	require.NoError(t, err)
	require.Len(t, listed, 1)
	memberID := listed[0][7]
	now, later := math.Float64bits(float64(c.Now().Unix())), math.Float64bits(float64(c.Now().Add(time.Hour).Unix()))
	require.Equal(t, listedToken{
		1: []byte(own.ID), 2: now, 3: []byte(w.workspace.ID()), 4: []byte(bob.ID()), 5: now,
		6: []byte("bob"), 7: memberID, 10: []byte("laptop"), 11: later,
	}, listed[0])
	require.Regexp(t, `^mb-`, string(memberID.([]byte)))

	w.server.SetDisabled(own.ID, true)
	all, err := w.listTokens(t, w.token)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, []byte(w.token.ID), all[0][1])
	require.NotContains(t, all[0], protowire.Number(11), "it never expires")
	require.EqualValues(t, 1, all[1][12], "disabled")

	_, err = w.listTokens(t, robot)
	requireCode(t, codes.PermissionDenied, err)
}

func TestWithExpiryDeletes_KeepsMembersTokensListedAndDeletable(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now), modaltest.WithExpiryDeletes())
	old := w.owner.NewToken(modaltest.ExpiresAt(c.Now().Add(time.Hour)))
	w.workspace.AddServiceUser("robot", modaltest.ExpiresAt(c.Now().Add(time.Hour)))
	c.Advance(time.Hour)
	requireRejected(t, whoAmI(withToken(t, old), w.client), "Token has expired")
	require.Empty(t, w.server.ServiceUsers())
	listed, err := w.listTokens(t, w.token)
	require.NoError(t, err)
	require.Len(t, listed, 2)
	require.NoError(t, w.deleteToken(t, w.token, old.ID))
	requireRejected(t, whoAmI(withToken(t, old), w.client), "Token not found")
}
