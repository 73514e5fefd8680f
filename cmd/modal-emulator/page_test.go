// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

type response struct {
	code   int
	body   string
	header http.Header
}

type requestOption func(*http.Request)

func asJSON(r *http.Request) { r.Header.Set("Accept", "application/json") }

func fromOtherSite(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }

func fromOtherOrigin(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }

func (e *emulator) do(t *testing.T, r *http.Request, opts []requestOption) response {
	t.Helper()
	for _, opt := range opts {
		opt(r)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return response{resp.StatusCode, string(body), resp.Header}
}

func (e *emulator) get(t *testing.T, path string) response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.pageURL+path, http.NoBody)
	require.NoError(t, err)
	return e.do(t, r, nil)
}

// post sends a form. Its workspace is "demo" if the form names none.
func (e *emulator) post(t *testing.T, path string, form map[string]string, opts ...requestOption) response {
	t.Helper()
	values := url.Values{"workspace": {"demo"}}
	for key, value := range form {
		values.Set(key, value)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.pageURL+path, strings.NewReader(values.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return e.do(t, r, opts)
}

func (e *emulator) createToken(t *testing.T, form map[string]string) map[string]string {
	t.Helper()
	resp := e.post(t, "/tokens", form, asJSON)
	require.Equal(t, http.StatusOK, resp.code)
	var created map[string]string
	require.NoError(t, json.Unmarshal([]byte(resp.body), &created))
	require.Regexp(t, `^ak-[A-Za-z0-9]{22}$`, created["token_id"])
	require.Regexp(t, `^as-[A-Za-z0-9]{22}$`, created["token_secret"])
	require.Len(t, created, 2)
	return created
}

// modal returns Modal's generated client and a context with the token's headers.
func (e *emulator) modal(t *testing.T, token map[string]string) (pb.ModalClientClient, context.Context) {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(e.grpcURL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return pb.NewModalClientClient(conn), metadata.AppendToOutgoingContext(t.Context(),
		"x-modal-client-type", "9", "x-modal-client-version", "1.0.0",
		"x-modal-token-id", token["token_id"], "x-modal-token-secret", token["token_secret"])
}

func TestPage_StartsWithoutTokens(t *testing.T) {
	t.Parallel()
	resp := launch(t).get(t, "/")
	require.Equal(t, http.StatusOK, resp.code)
	require.Equal(t, "text/html; charset=utf-8", resp.header.Get("Content-Type"))
	require.Contains(t, resp.body, "There are no tokens.")
	require.NotContains(t, resp.body, "ak-")
}

func TestPage_ShowsASecretOnceAndNeverAgain(t *testing.T) {
	t.Parallel()
	e := launch(t)
	resp := e.post(t, "/tokens", map[string]string{"kind": "member", "owner": "operator"})
	require.Equal(t, http.StatusOK, resp.code)
	secret := regexp.MustCompile(`MODAL_TOKEN_SECRET=(as-[A-Za-z0-9]{22})`).FindStringSubmatch(resp.body)
	require.Len(t, secret, 2)
	require.Equal(t, "no-store", resp.header.Get("Cache-Control"))
	require.Contains(t, resp.body, "MODAL_SERVER_URL="+e.grpcURL)

	again := e.get(t, "/").body
	require.NotContains(t, again, secret[1])
	require.NotContains(t, again, "as-")
}

func TestPage_ListsTokensWithOwnerKindAndExpiry(t *testing.T) {
	t.Parallel()
	e := launch(t)
	before := time.Now().Add(time.Hour).Truncate(time.Second)
	member := e.createToken(t, map[string]string{"kind": "member", "owner": "operator"})
	service := e.createToken(t, map[string]string{"kind": "service-user", "owner": "ci", "expires_in": "1h"})

	rows := regexp.MustCompile(`(?s)<tr>\s*<td>.*?</tr>`).FindAllString(e.get(t, "/").body, -1)
	require.Len(t, rows, 2)
	require.Contains(t, rows[0], member["token_id"])
	require.Regexp(t, `<td>demo<td>operator<td>member\s+<td>[0-9T:-]+Z<td>never<td>never`, rows[0])
	require.Contains(t, rows[1], service["token_id"])
	found := regexp.MustCompile(`<td>demo<td>ci<td>service-user\s+<td>[0-9T:-]+Z<td>([0-9T:-]+Z)<td>never`).FindStringSubmatch(rows[1])
	require.Len(t, found, 2)
	expires, err := time.Parse(time.RFC3339, found[1])
	require.NoError(t, err)
	require.WithinRange(t, expires, before, time.Now().Add(time.Hour))
}

func TestPage_ShowsWhereServiceUsersHaveAccess(t *testing.T) {
	t.Parallel()
	e := launch(t)
	owner := e.createToken(t, map[string]string{"kind": "member", "owner": "operator"})
	e.createToken(t, map[string]string{"kind": "service-user", "owner": "seeded"})
	client, ctx := e.modal(t, owner)
	_, err := client.ServiceUserCreate(ctx, pb.ServiceUserCreateRequest_builder{Name: "ci", Scoped: true}.Build())
	require.NoError(t, err)
	for environment, role := range map[string]string{"staging": "viewer", "main": "contributor"} {
		_, err = client.EnvironmentRoleSet(ctx, pb.EnvironmentRoleSetRequest_builder{
			ServiceUserName: "ci", EnvironmentName: environment, RoleStr: role,
		}.Build())
		require.NoError(t, err)
	}
	html := e.get(t, "/").body
	require.Regexp(t, `(?s)<td>operator<td>member[^/]*<td>\s+<td><form`, html)
	require.Regexp(t, `(?s)<td>seeded<td>service-user[^/]*<td>not scoped, no roles\s+<td><form`, html)
	require.Regexp(t, `(?s)<td>ci<td>service-user[^/]*<td>scoped: main=contributor, staging=viewer\s+<td><form`, html)
}

func TestPage_DeleteButtonDeletesAndReturnsToTheList(t *testing.T) {
	t.Parallel()
	e := launch(t)
	token := e.createToken(t, map[string]string{"kind": "service-user", "owner": "ci"})
	remove := "/tokens/" + token["token_id"] + "/delete"
	require.Contains(t, e.get(t, "/").body, `action="`+remove+`"`)
	resp := e.post(t, remove, nil)
	require.Equal(t, http.StatusSeeOther, resp.code)
	require.Equal(t, "/", resp.header.Get("Location"))
	require.NotContains(t, e.get(t, "/").body, token["token_id"])
	require.Equal(t, http.StatusNotFound, e.post(t, remove, nil).code)
	e.createToken(t, map[string]string{"kind": "service-user", "owner": "ci"})
}

func TestPage_BadFormsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	e := launch(t)
	e.createToken(t, map[string]string{"kind": "service-user", "owner": "taken"})
	for name, test := range map[string]struct {
		form   map[string]string
		reason string
	}{
		"workspace": {map[string]string{"workspace": "acme", "kind": "member", "owner": "operator"}, "no workspace"},
		"member":    {map[string]string{"kind": "member", "owner": "nobody"}, "there is no member"},
		"kind":      {map[string]string{"kind": "robot", "owner": "operator"}, "kind is"},
		"name":      {map[string]string{"kind": "service-user", "owner": "No Good"}, "a name is"},
		"taken":     {map[string]string{"kind": "service-user", "owner": "taken"}, "is taken"},
		"duration":  {map[string]string{"kind": "member", "owner": "operator", "expires_in": "soon"}, "expires_in is"},
		"past":      {map[string]string{"kind": "member", "owner": "operator", "expires_in": "-1h"}, "expires_in is"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain := e.post(t, "/tokens", test.form)
			require.Equal(t, http.StatusBadRequest, plain.code)
			require.Contains(t, plain.body, test.reason)

			resp := e.post(t, "/tokens", test.form, asJSON)
			require.Equal(t, http.StatusBadRequest, resp.code)
			var refused map[string]string
			require.NoError(t, json.Unmarshal([]byte(resp.body), &refused))
			require.Contains(t, refused["error"], test.reason)
		})
	}
}

func TestPage_OtherSitesCannotCreateOrDelete(t *testing.T) {
	t.Parallel()
	e := launch(t)
	token := e.createToken(t, map[string]string{"kind": "member", "owner": "operator"})
	form := map[string]string{"kind": "member", "owner": "operator"}
	for _, opt := range []requestOption{fromOtherSite, fromOtherOrigin} {
		require.Equal(t, http.StatusForbidden, e.post(t, "/tokens", form, opt).code)
		require.Equal(t, http.StatusForbidden, e.post(t, "/tokens/"+token["token_id"]+"/delete", nil, opt).code)
	}
	require.Equal(t, 1, strings.Count(e.get(t, "/").body, "/delete"), "nothing was created or deleted")
}

func TestPage_ReasonsAreEscaped(t *testing.T) {
	t.Parallel()
	resp := launch(t).post(t, "/tokens", map[string]string{"kind": "service-user", "owner": "<script>"})
	require.Equal(t, http.StatusBadRequest, resp.code)
	require.Equal(t, "text/plain; charset=utf-8", resp.header.Get("Content-Type"))
}

func TestPage_UnknownPathsAreNotFound(t *testing.T) {
	t.Parallel()
	e := launch(t)
	require.Equal(t, http.StatusNotFound, e.get(t, "/other").code)
	require.Equal(t, http.StatusMethodNotAllowed, e.get(t, "/tokens").code)
}
