// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"fmt"
	"testing"

	"github.com/BurntSushi/toml"
	modal "github.com/modal-labs/modal-client/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// sdk returns Modal's own Go SDK with an explicit configuration. It ignores the configuration file and the
// environment of the host.
func sdk(t *testing.T, s *modaltest.Server, token modaltest.Token) *modal.Client {
	t.Helper()
	params := &modal.ClientParams{}
	file := fmt.Sprintf("[test]\nactive = true\nserver_url = %q\ntoken_id = %q\ntoken_secret = %q\n", s.URL(), token.ID, token.Secret)
	require.NoError(t, toml.Unmarshal([]byte(file), &params.Config))
	client, err := modal.NewClientWithOptions(params)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func environments(t *testing.T, client *modal.Client) ([]string, error) {
	t.Helper()
	list, err := client.Environments.Objects.List(t.Context())
	require.NoError(t, err)
	var names []string
	for env, err := range list {
		if err != nil {
			return nil, err
		}
		names = append(names, env.Name)
	}
	return names, nil
}

func TestGoSDK_WorksUntilItsTokenIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("staging")
	client := sdk(t, w.server, w.token)

	names, err := environments(t, client)
	require.NoError(t, err)
	require.Equal(t, []string{"main", "staging"}, names)
	env, err := client.Environments.FromName(t.Context(), "staging", nil)
	require.NoError(t, err)
	require.Equal(t, "staging", env.Name)
	require.NotEmpty(t, env.EnvironmentID)
	_, err = client.Environments.FromName(t.Context(), "nowhere", nil)
	var notFound modal.NotFoundError
	require.ErrorAs(t, err, &notFound)

	require.Len(t, w.server.Calls("AuthTokenGet"), 1, "the JWT has an expiry that the SDK believes")
	require.Len(t, w.server.Calls("AuthTokenGet")[0].Header.Get("x-modal-token-id"), 2, "the SDK doubles its headers here")
	w.server.DeleteToken(w.token.ID)
	_, err = environments(t, client)
	requireCode(t, codes.Unauthenticated, err)
}

func TestGoSDK_WaitsWhenAskedToRetryLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client := sdk(t, w.server, w.token)
	w.server.Inject("EnvironmentList", modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: 1})
	names, err := environments(t, client)
	require.NoError(t, err)
	require.Equal(t, []string{"main"}, names)
	require.Len(t, w.server.Calls("EnvironmentList"), 2)
}

func TestWithTLS_ClientsThatTrustItsAuthorityConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modaltest.WithTLS())
	require.Regexp(t, `^https://127\.0\.0\.1:\d+$`, w.server.URL())
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))

	_, err := environments(t, sdk(t, w.server, w.token))
	require.ErrorContains(t, err, "certificate", "the SDK trusts only the system's authorities")
}

func TestURL_IsAcceptedByEveryClient(t *testing.T) {
	t.Parallel()
	s := modaltest.Start(t)
	require.Regexp(t, `^http://127\.0\.0\.1:\d+$`, s.URL())
	require.Panics(t, func() { s.CACert() })
	require.Panics(t, func() { modaltest.New().URL() })
}
