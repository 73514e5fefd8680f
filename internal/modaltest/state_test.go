// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestToken_PrintsOnlyItsID(t *testing.T) {
	t.Parallel()
	token := modaltest.Token{ID: "ak-id", Secret: "as-hidden"}
	holder := struct {
		Token   modaltest.Token
		Pointer *modaltest.Token
	}{token, &token}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10.20s"} {
		for _, value := range []any{token, &token, holder, []modaltest.Token{token}} {
			require.NotContains(t, fmt.Sprintf(verb, value), "hidden", verb)
			require.NotContains(t, fmt.Sprintf(verb, value), fmt.Sprintf("%x", "hidden"), verb)
		}
	}
	require.Equal(t, "ak-id", token.String())
	require.Equal(t, "ak-id", token.GoString())
}

func TestToken_HasModalsShapeAndIsUnique(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := map[string]bool{}
	for range 200 {
		token := w.owner.NewToken()
		require.Regexp(t, `^ak-[A-Za-z0-9]{22}$`, token.ID)
		require.Regexp(t, `^as-[A-Za-z0-9]{22}$`, token.Secret)
		require.False(t, seen[token.ID])
		seen[token.ID] = true
	}
	require.Regexp(t, `^ac-[A-Za-z0-9]{22}$`, w.workspace.ID())
	require.Regexp(t, `^us-[A-Za-z0-9]{22}$`, w.owner.ID())
}

func TestTokens_DescribesEachTokenWithoutItsSecret(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	start, expires := c.Now(), c.Now().Add(time.Hour)
	c.Advance(time.Minute)
	service := w.workspace.AddServiceUser("ci", modaltest.ExpiresAt(expires))
	c.Advance(time.Minute)
	require.NoError(t, whoAmI(withToken(t, service), w.client))

	require.Equal(t, []modaltest.TokenInfo{
		{ID: w.token.ID, Workspace: "acme", Owner: "ada", Kind: modaltest.KindMember, Created: start},
		{
			ID: service.ID, Workspace: "acme", Owner: "ci", Kind: modaltest.KindServiceUser,
			Created: start.Add(time.Minute), Expires: expires, LastUsed: start.Add(2 * time.Minute),
		},
	}, w.server.Tokens())
	require.Equal(t, []string{w.token.Secret, service.Secret}, w.server.Secrets())

	w.server.DeleteToken(service.ID)
	require.Len(t, w.server.Tokens(), 1)
	require.Contains(t, w.server.Secrets(), service.Secret, "a deleted token's secret must not leak either")
}

func TestTokens_RejectedCallIsNoUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.owner.NewToken()
	require.Error(t, whoAmI(withToken(t, modaltest.Token{ID: w.token.ID, Secret: other.Secret}), w.client))
	require.Zero(t, w.server.Tokens()[0].LastUsed)
}

func TestServiceUser_IsDeletedWithItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.workspace.AddServiceUser("ci")
	_, err := w.workspace.CreateServiceUser("ci")
	require.ErrorContains(t, err, "the name is taken")
	require.True(t, w.server.DeleteToken(token.ID))
	_, err = w.workspace.CreateServiceUser("ci")
	require.NoError(t, err, "the service user is gone with its token")

	_, err = w.server.AddWorkspace("globex").CreateServiceUser("ci")
	require.NoError(t, err, "names belong to a workspace")
	for _, name := range []string{"", "Upper", "has space", "has.dot"} {
		_, err = w.workspace.CreateServiceUser(name)
		require.ErrorContains(t, err, "a name is")
	}
}

func TestState_UsedNamesPanic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddServiceUser("ci")
	require.Panics(t, func() { w.server.AddWorkspace("acme") })
	require.Panics(t, func() { w.workspace.AddEnvironment("main") })
	require.Panics(t, func() { w.workspace.AddMember("ada") })
	require.Panics(t, func() { w.workspace.AddServiceUser("ci") })
	require.Same(t, w.workspace, w.server.Workspace("acme"))
	require.Same(t, w.owner, w.workspace.Member("ada"))
	require.Nil(t, w.server.Workspace("nobody"))
	require.Nil(t, w.workspace.Member("nobody"))
}

func TestServer_IsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := withToken(t, w.token)
	errs := make(chan error, 40)
	var group sync.WaitGroup
	for i := range cap(errs) {
		group.Go(func() {
			errs <- whoAmI(ctx, w.client)
			token := w.workspace.AddServiceUser(fmt.Sprintf("ci-%d", i))
			w.workspace.AddEnvironment(fmt.Sprintf("env-%d", i))
			w.server.Tokens()
			w.server.Calls("")
			w.server.DeleteToken(token.ID)
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, w.server.Tokens(), 1)
	require.Len(t, w.server.Calls("TokenInfoGet"), cap(errs))
}
