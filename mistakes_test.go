// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

const (
	someID     = "ak-AAAAAAAAAAAAAAAAAAAAAA"
	someSecret = "as-BBBBBBBBBBBBBBBBBBBBBB"
)

// mistake is an invalid request, with the parts that its message must contain. The mount m has a static role ci.
type mistake struct {
	op   logical.Operation
	path string
	data func(m *mount) map[string]any
	says []string
}

func fixed(data map[string]any) func(*mount) map[string]any {
	return func(*mount) map[string]any { return data }
}

func static(pair map[string]any, more ...any) func(*mount) map[string]any {
	return fixed(also(also(pair, "type", "static"), more...))
}

func tokenParameters(id, secret string) map[string]any {
	return map[string]any{"token_id": id, "token_secret": secret}
}

func good() map[string]any { return tokenParameters(someID, someSecret) }

func mistakes() map[string]mistake {
	const update, read, remove = logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation
	fresh := func(more ...any) func(m *mount) map[string]any {
		return func(m *mount) map[string]any { return also(also(m.newToken(), "type", "static"), more...) }
	}
	return map[string]mistake{
		"rotate an unknown role":       {update, "rotate/none", fixed(good()), []string{"no role is named none", "vault write modal/roles/none"}},
		"retry an unknown revocation":  {update, "revocations/ak-x", nil, []string{"the revocation queue has no token ak-x"}},
		"role without a type":          {update, "roles/new", fixed(good()), []string{"type is missing", "type=static"}},
		"role of an unknown type":      {update, "roles/new", static(good(), "type", "magic"), []string{"type: write static, managed, dynamic"}},
		"dynamic role with a token":    {update, "roles/new", static(good(), "type", "dynamic", "environment_roles", "main=viewer"), []string{"role new is dynamic, and token_id, token_secret are for static roles: leave them out"}},
		"change of type":               {update, "roles/ci", fixed(map[string]any{"type": "managed"}), []string{"type is static", "another name"}},
		"upper-case role":              {update, "roles/CI", static(good()), []string{`"CI"`, `write "ci"`}},
		"upper-case role in a read":    {read, "creds/CI", nil, []string{`write "ci"`}},
		"upper-case role in a form":    {read, "creds/CI/toml", nil, []string{`write "ci"`}},
		"upper-case role in a delete":  {remove, "roles/CI", nil, []string{`write "ci"`}},
		"upper-case role in rotate":    {update, "rotate/CI", fixed(good()), []string{`write "ci"`}},
		"odd role name":                {update, "roles/my role!", static(good()), []string{"lower-case letters, digits"}},
		"role name that ends in a dot": {update, "roles/ci.", static(good()), []string{"begin and end with a letter or digit"}},
		"role name too long":           {update, "roles/" + strings.Repeat("a", 65), static(good()), []string{"up to 64"}},
		"role with an empty token":     {update, "roles/new", static(tokenParameters("", "")), []string{"token_id and token_secret are empty"}},
		"missing secret":               {update, "roles/new", fixed(map[string]any{"type": "static", "token_id": someID}), []string{"token_secret is missing"}},
		"missing ID":                   {update, "rotate/ci", fixed(map[string]any{"token_secret": someSecret}), []string{"token_id is missing"}},
		"rotate without a token":       {update, "rotate/ci", nil, []string{"a person must create its tokens", "https://modal.com/settings/tokens"}},
		"swapped token":                {update, "roles/new", static(tokenParameters(someSecret, someID)), []string{"swapped"}},
		"proxy token":                  {update, "roles/new", static(tokenParameters("wk-AAAAAAAAAAAAAAAAAAAAAA", "ws-AAAAAAAAAAAAAAAAAAAAAA")), []string{"proxy token"}},
		"newline in the ID":            {update, "roles/new", static(tokenParameters("ak-AA\nBB", someSecret)), []string{"line break"}},
		"newline in the secret":        {update, "roles/new", static(tokenParameters(someID, "as-AA\nBB")), []string{"line break"}},
		"quote in the secret":          {update, "roles/new", static(tokenParameters(someID, `as-AA"BB`)), []string{"quote"}},
		"control character":            {update, "roles/new", static(tokenParameters(someID, "as-AA\x00BB")), []string{"control character"}},
		"wrong secret": {update, "rotate/ci", func(m *mount) map[string]any {
			return also(m.newToken(), "token_secret", someSecret)
		}, []string{"Modal rejected token ak-", "nothing was changed", "secret belongs to this ID"}},
		"unknown token": {update, "roles/new", static(good()), []string{"Modal rejected token " + someID}},
		"token of another role": {update, "roles/new", func(m *mount) map[string]any {
			return fresh("token_id", m.read("creds/ci")["token_id"], "token_secret", m.read("creds/ci")["token_secret"])(m)
		}, []string{"already belongs to another role of this mount"}},
		"token of another role in rotate": {update, "rotate/ci", func(m *mount) map[string]any {
			m.addRole("other")
			return tokenParameters(m.read("creds/other")["token_id"].(string), m.read("creds/other")["token_secret"].(string))
		}, []string{"already belongs to another role of this mount"}},
		"token of the admin": {update, "roles/new", func(m *mount) map[string]any {
			admin := m.newToken()
			m.write("config", admin)
			return also(admin, "type", "static")
		}, []string{"admin token in config"}},
		"admin token of a role": {update, "config", func(m *mount) map[string]any {
			return tokenParameters(m.read("creds/ci")["token_id"].(string), m.read("creds/ci")["token_secret"].(string))
		}, []string{"already belongs to another role of this mount"}},
		"admin token that Modal rejects": {update, "config", fixed(good()), []string{"Modal rejected token " + someID}},
		"half an admin token":            {update, "config", fixed(map[string]any{"token_id": someID}), []string{"token_secret is missing"}},
		"odd profile":                    {update, "roles/new", fresh("profile", `a"b`), []string{"profile: use letters, digits"}},
		"profile with a space":           {update, "roles/ci", fixed(map[string]any{"profile": "my profile"}), []string{"letters, digits"}},
		"odd environment":                {update, "roles/ci", fixed(map[string]any{"environment": "a b"}), []string{"environment"}},
		"environment that is an ID":      {update, "roles/ci", fixed(map[string]any{"environment": "en-123"}), []string{`not with "en-"`}},
		"negative duration":              {update, "roles/ci", fixed(map[string]any{"grace_period": -5}), []string{"grace_period", "negative"}},
		"no duration at all":             {update, "roles/ci", fixed(map[string]any{"grace_period": "soon"}), []string{"grace_period"}},
		"absurd grace period":            {update, "roles/ci", fixed(map[string]any{"grace_period": "9000h"}), []string{"grace_period", "outside"}},
		"absurd grace period of a call":  {update, "rotate/ci", func(m *mount) map[string]any { return also(m.newToken(), "grace_period", "9000h") }, []string{"grace_period", "outside"}},
		"refresh interval of nothing":    {update, "roles/ci", fixed(map[string]any{"refresh_interval": 1}), []string{"refresh_interval", "outside 5s"}},
		"rotation under the refresh":     {update, "roles/ci", fixed(map[string]any{"rotation_period": 60}), []string{"shorter than refresh_interval"}},
		"absurd request timeout":         {update, "config", fixed(map[string]any{"request_timeout": "1h"}), []string{"request_timeout"}},
		"http to a remote host":          {update, "config", fixed(map[string]any{"server_url": "http://api.modal.com:80"}), []string{"https"}},
		"server with a path":             {update, "config", fixed(map[string]any{"server_url": "https://api.modal.com:443/v1"}), []string{"path"}},
		"server with a trailing slash":   {update, "config", fixed(map[string]any{"server_url": "https://api.modal.com:443/"}), []string{"slash"}},
		"list of servers":                {update, "config", fixed(map[string]any{"server_url": "https://api.modal.com:443,https://api.modal2.com:443"}), []string{"one"}},
		"server without a port":          {update, "config", fixed(map[string]any{"server_url": "https://api.modal.com"}), []string{"https://api.modal.com:443"}},
		"server of a role":               {update, "roles/ci", fixed(map[string]any{"server_url": "https://api.modal.com:443"}), []string{`unknown field "server_url"`}},
		"CA that is not PEM":             {update, "config", fixed(map[string]any{"ca_cert": "MIIB"}), []string{"ca_cert", "PEM"}},
		"unknown field":                  {update, "roles/ci", fixed(map[string]any{"refresh_intervall": 60}), []string{`did you mean "refresh_interval"`}},
		"unknown field in config":        {update, "config", fixed(map[string]any{"url": "x"}), []string{`unknown field "url"`, "server_url"}},
		"format as a parameter":          {read, "creds/ci", fixed(map[string]any{"format": "toml"}), []string{`unknown field "format"`}},
	}
}

func TestMistakes_NameTheNextStepAndChangeNothing(t *testing.T) {
	t.Parallel()
	for name, mistake := range mistakes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			m.addRole("ci")
			var data map[string]any
			if mistake.data != nil {
				data = mistake.data(m)
			}
			text := m.refused(mistake.op, mistake.path, data)
			for _, part := range mistake.says {
				require.Contains(t, text, part)
			}
			if secret, _ := data["token_secret"].(string); strings.HasPrefix(secret, "as-") {
				require.NotContains(t, text, strings.TrimPrefix(secret, "as-"))
			}
		})
	}
}

func TestErrors_FromModalAre502AndChangeNothing(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]struct {
		fault modaltest.Fault
		says  string
	}{
		"down":        {modaltest.Fault{Code: codes.Unavailable, Times: -1}, "no usable answer"},
		"slow":        {modaltest.Fault{Delay: time.Minute, Times: -1}, "did not answer within 1s"},
		"throttling":  {modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Minute, Times: -1}, "asks to wait 1m"},
		"broken":      {modaltest.Fault{Code: codes.Internal, Times: -1}, "no usable answer"},
		"unsupported": {modaltest.Fault{Code: codes.Unimplemented, Times: -1}, "does not know how"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			m.addRole("ci")
			m.write("config", map[string]any{"request_timeout": "1s"})
			m.modal.Inject("TokenInfoGet", trouble.fault)
			for path, data := range map[string]map[string]any{
				"roles/new": also(m.newToken(), "type", "static"), "rotate/ci": m.newToken(), "config": m.newToken(),
			} {
				status, text := m.failed(logical.UpdateOperation, path, data)
				require.Equal(t, http.StatusBadGateway, status, path)
				require.Contains(t, text, trouble.says, path)
				require.Contains(t, text, "nothing was changed", path)
			}
			require.NotEmpty(t, m.read("creds/ci"))
		})
	}
}

func TestErrors_FromModalThatPassAreRetriedUnnoticed(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: 2})
	m.addRole("ci")
	m.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: 150 * time.Millisecond})
	m.write("rotate/ci", m.newToken())
	m.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal, AfterCommit: true})
	m.write("rotate/ci", m.newToken())
	require.Equal(t, int64(3), m.read("creds/ci")["version"])
}

func TestStorage_EntryOfANewerSchemaIsRefusedByName(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.addRole("fine")
	require.NoError(t, m.storage.Put(t.Context(), &logical.StorageEntry{Key: "cred/ci", Value: []byte(`{"schema":3,"entry":{"new":true}}`)}))
	m.restart()
	for path, op := range map[string]logical.Operation{
		"creds/ci": logical.ReadOperation, "rotate/ci": logical.UpdateOperation, "verify/ci": logical.UpdateOperation,
	} {
		status, text := m.failed(op, path, nil)
		require.Equal(t, http.StatusInternalServerError, status)
		require.Contains(t, text, "cred/ci was written by a newer version of this plugin (schema 3, this build knows 2)")
	}
	require.NotEmpty(t, m.read("creds/fine"))
}

func TestStorage_FailureIsAServerErrorWithItsOwnText(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.storage.plan(cut{at: 1})
	status, text := m.failed(logical.UpdateOperation, "roles/new", also(m.newToken(), "type", "static"))
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, text, errCut.Error())
}
