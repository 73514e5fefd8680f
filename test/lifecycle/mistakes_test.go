// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// mistake is an invalid request, with the parts that its message must contain. The mount m has a static role ci.
type mistake struct {
	op   logical.Operation
	path string
	data func(m *mounttest.Mount) map[string]any
	says []string
}

func fixed(data map[string]any) func(*mounttest.Mount) map[string]any {
	return func(*mounttest.Mount) map[string]any { return data }
}

func static(pair map[string]any, more ...any) func(*mounttest.Mount) map[string]any {
	return fixed(mounttest.Also(mounttest.Also(pair, "type", "static"), more...))
}

func good() map[string]any { return mounttest.TokenParameters(mounttest.SomeID, mounttest.SomeSecret) }

func mistakes() map[string]mistake {
	const update, read, remove = logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation
	fresh := func(more ...any) func(m *mounttest.Mount) map[string]any {
		return func(m *mounttest.Mount) map[string]any {
			return mounttest.Also(mounttest.Also(m.NewToken(), "type", "static"), more...)
		}
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
		"role with an empty token":     {update, "roles/new", static(mounttest.TokenParameters("", "")), []string{"token_id and token_secret are empty"}},
		"missing secret":               {update, "roles/new", fixed(map[string]any{"type": "static", "token_id": mounttest.SomeID}), []string{"token_secret is missing"}},
		"missing ID":                   {update, "rotate/ci", fixed(map[string]any{"token_secret": mounttest.SomeSecret}), []string{"token_id is missing"}},
		"rotate without a token":       {update, "rotate/ci", nil, []string{"a person must create its tokens", "https://modal.com/settings/tokens"}},
		"swapped token":                {update, "roles/new", static(mounttest.TokenParameters(mounttest.SomeSecret, mounttest.SomeID)), []string{"swapped"}},
		"proxy token":                  {update, "roles/new", static(mounttest.TokenParameters("wk-AAAAAAAAAAAAAAAAAAAAAA", "ws-AAAAAAAAAAAAAAAAAAAAAA")), []string{"proxy token"}},
		"newline in the ID":            {update, "roles/new", static(mounttest.TokenParameters("ak-AA\nBB", mounttest.SomeSecret)), []string{"line break"}},
		"newline in the secret":        {update, "roles/new", static(mounttest.TokenParameters(mounttest.SomeID, "as-AA\nBB")), []string{"line break"}},
		"quote in the secret":          {update, "roles/new", static(mounttest.TokenParameters(mounttest.SomeID, `as-AA"BB`)), []string{"quote"}},
		"control character":            {update, "roles/new", static(mounttest.TokenParameters(mounttest.SomeID, "as-AA\x00BB")), []string{"control character"}},
		"wrong secret": {update, "rotate/ci", func(m *mounttest.Mount) map[string]any {
			return mounttest.Also(m.NewToken(), "token_secret", mounttest.SomeSecret)
		}, []string{"Modal rejected token ak-", "nothing was changed", "secret belongs to this ID"}},
		"unknown token": {update, "roles/new", static(good()), []string{"Modal rejected token " + mounttest.SomeID}},
		"token of another role": {update, "roles/new", func(m *mounttest.Mount) map[string]any {
			return fresh("token_id", m.Read("creds/ci")["token_id"], "token_secret", m.Read("creds/ci")["token_secret"])(m)
		}, []string{"already belongs to another role of this mount"}},
		"token of another role in rotate": {update, "rotate/ci", func(m *mounttest.Mount) map[string]any {
			m.AddRole("other")
			return mounttest.TokenParameters(m.Read("creds/other")["token_id"].(string), m.Read("creds/other")["token_secret"].(string))
		}, []string{"already belongs to another role of this mount"}},
		"token of the admin": {update, "roles/new", func(m *mounttest.Mount) map[string]any {
			admin := m.NewToken()
			m.Write("config", admin)
			return mounttest.Also(admin, "type", "static")
		}, []string{"admin token in config"}},
		"admin token of a role": {update, "config", func(m *mounttest.Mount) map[string]any {
			return mounttest.TokenParameters(m.Read("creds/ci")["token_id"].(string), m.Read("creds/ci")["token_secret"].(string))
		}, []string{"already belongs to another role of this mount"}},
		"admin token that Modal rejects": {update, "config", fixed(good()), []string{"Modal rejected token " + mounttest.SomeID}},
		"half an admin token":            {update, "config", fixed(map[string]any{"token_id": mounttest.SomeID}), []string{"token_secret is missing"}},
		"odd profile":                    {update, "roles/new", fresh("profile", `a"b`), []string{"profile: use letters, digits"}},
		"profile with a space":           {update, "roles/ci", fixed(map[string]any{"profile": "my profile"}), []string{"letters, digits"}},
		"odd environment":                {update, "roles/ci", fixed(map[string]any{"environment": "a b"}), []string{"environment"}},
		"environment that is an ID":      {update, "roles/ci", fixed(map[string]any{"environment": "en-123"}), []string{`not with "en-"`}},
		"negative duration":              {update, "roles/ci", fixed(map[string]any{"grace_period": -5}), []string{"grace_period", "negative"}},
		"no duration at all":             {update, "roles/ci", fixed(map[string]any{"grace_period": "soon"}), []string{"grace_period"}},
		"absurd grace period":            {update, "roles/ci", fixed(map[string]any{"grace_period": "9000h"}), []string{"grace_period", "outside"}},
		"absurd grace period of a call":  {update, "rotate/ci", func(m *mounttest.Mount) map[string]any { return mounttest.Also(m.NewToken(), "grace_period", "9000h") }, []string{"grace_period", "outside"}},
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
		"unknown field":                  {update, "roles/ci", fixed(map[string]any{"refresh_intervall": 60}), []string{`did you mean refresh_interval`}},
		"unknown field in config":        {update, "config", fixed(map[string]any{"url": "x"}), []string{`unknown field "url"`, "server_url"}},
		"format as a parameter":          {read, "creds/ci", fixed(map[string]any{"format": "toml"}), []string{`unknown field "format"`}},
	}
}

func TestMistakes_NameTheNextStepAndChangeNothing(t *testing.T) {
	t.Parallel()
	for name, mistake := range mistakes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			m.AddRole("ci")
			var data map[string]any
			if mistake.data != nil {
				data = mistake.data(m)
			}
			text := m.Refused(mistake.op, mistake.path, data)
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
			m := mounttest.New(t)
			m.AddRole("ci")
			m.Write("config", map[string]any{"request_timeout": "1s"})
			m.Modal.Inject("TokenInfoGet", trouble.fault)
			for path, data := range map[string]map[string]any{
				"roles/new": mounttest.Also(m.NewToken(), "type", "static"), "rotate/ci": m.NewToken(), "config": m.NewToken(),
			} {
				status, text := m.Failed(logical.UpdateOperation, path, data)
				require.Equal(t, http.StatusBadGateway, status, path)
				require.Contains(t, text, trouble.says, path)
				require.Contains(t, text, "nothing was changed", path)
			}
			require.NotEmpty(t, m.Read("creds/ci"))
		})
	}
}

func TestErrors_FromModalThatPassAreRetriedUnnoticed(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: 2})
	m.AddRole("ci")
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: 150 * time.Millisecond})
	m.Write("rotate/ci", m.NewToken())
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal, AfterCommit: true})
	m.Write("rotate/ci", m.NewToken())
	require.Equal(t, int64(3), m.Read("creds/ci")["version"])
}

func TestStorage_EntryOfANewerSchemaIsRefusedByName(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.AddRole("fine")
	require.NoError(t, m.Storage.Put(t.Context(), &logical.StorageEntry{Key: "cred/ci", Value: []byte(`{"schema":3,"entry":{"new":true}}`)}))
	m.Restart()
	for path, op := range map[string]logical.Operation{
		"creds/ci": logical.ReadOperation, "rotate/ci": logical.UpdateOperation, "verify/ci": logical.UpdateOperation,
	} {
		status, text := m.Failed(op, path, nil)
		require.Equal(t, http.StatusInternalServerError, status)
		require.Contains(t, text, "cred/ci was written by a newer version of this plugin (schema 3, this build knows 2)")
	}
	require.NotEmpty(t, m.Read("creds/fine"))
}

func TestStorage_FailureIsAServerErrorWithItsOwnText(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Storage.Plan(mounttest.Cut{At: 1})
	status, text := m.Failed(logical.UpdateOperation, "roles/new", mounttest.Also(m.NewToken(), "type", "static"))
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, text, mounttest.ErrCut.Error())
}
