// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

// issuerAt serves an issuer that names itself by the server's URL, or by another URL.
func issuerAt(t *testing.T, another string) (issuer *modaltest.IdentityIssuer, url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { issuer.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	if another == "" {
		another = server.URL
	}
	issuer = modaltest.NewIdentityIssuer(another, time.Now)
	return issuer, server.URL
}

func TestAcceptance_IdentityRowsTellWhatIsWrong(t *testing.T) {
	t.Parallel()
	workspace := modaltest.New().AddWorkspace("demo")
	elsewhere := modaltest.New().AddWorkspace("elsewhere")
	good, url := issuerAt(t, "")
	other, _ := issuerAt(t, "")
	_, misnamed := issuerAt(t, "https://oidc.modal.com")
	sign := func(issuer *modaltest.IdentityIssuer, workspace *modaltest.Workspace, life time.Duration, claims map[string]string) string {
		token, err := issuer.Sign(workspace, life, claims)
		require.NoError(t, err)
		return token
	}
	for name, try := range map[string]struct {
		issuer, identity, row, outcome, saw string
	}{
		"good":              {url, sign(good, workspace, time.Hour, nil), "identity-claims", held, "missing claims: 0; workspace_id is the workspace of the account token: true"},
		"life":              {url, sign(good, workspace, time.Hour, nil), "identity-life", learnt, "48h0m0s from iat to exp"},
		"keys":              {url, "", "identity-issuer", held, "it named itself, and 1 keys for RS256"},
		"no token":          {url, "", "identity-claims", notTried, "MODAL_IDENTITY_TOKEN has no identity token"},
		"no issuer":         {"", "", "identity-issuer", notTried, "ACCEPTANCE_ISSUER does not name"},
		"another name":      {misnamed, "", "identity-issuer", failed, "the discovery document names another issuer"},
		"nobody there":      {url + "/nowhere", "", "identity-issuer", failed, "read the discovery document: the answer was 404"},
		"claims":            {url, sign(good, workspace, time.Hour, map[string]string{"app_name": ""}), "identity-claims", failed, "missing claims: 1 (app_name)"},
		"another workspace": {url, sign(good, elsewhere, time.Hour, nil), "identity-claims", failed, "of the account token: false"},
		"audience":          {url, sign(good, workspace, time.Hour, map[string]string{"aud": "sts.amazonaws.com"}), "identity-claims", failed, "invalid audience"},
		"expired":           {url, sign(good, workspace, -time.Hour, nil), "identity-claims", failed, "token is expired"},
		"forged":            {url, sign(other, workspace, time.Hour, map[string]string{"iss": url}), "identity-claims", failed, "signature is invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := &trial{
				who: modalapi.Identity{WorkspaceID: workspace.ID()}, issuer: try.issuer, identity: try.identity,
				findings: map[string]finding{}, progress: io.Discard,
			}
			run.identityTokens(t.Context())
			found := run.findings[try.row]
			require.Equal(t, try.outcome, found.outcome, found.saw)
			require.Contains(t, found.saw, try.saw)
		})
	}
}

func TestAcceptance_WrongIdentityTokenEndsTheRunWithItsRow(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	environ := owned(t, server)
	issuer, url := issuerAt(t, "")
	identity, err := issuer.Sign(server.Workspace("demo"), time.Hour, map[string]string{"environment_name": ""})
	require.NoError(t, err)
	environ["ACCEPTANCE_ISSUER"], environ["MODAL_IDENTITY_TOKEN"] = url, identity
	report := &bytes.Buffer{}
	err = run(t.Context(), of(environ), short, strings.NewReader(""), report, io.Discard)
	require.ErrorContains(t, err, "these rows of docs/modal.md are wrong: ")
	require.ErrorContains(t, err, "identity-claims")
	require.Equal(t, failed, outcomes(report.String())["identity-claims"])
	require.NotContains(t, report.String(), identity)
	require.NotContains(t, report.String(), "127.0.0.1")
}
