// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

// likelyMistakes returns the first mistakes to expect: in the setup, in roles, in rotations, in the revocation queue,
// with the admin token, and in changes made at Modal.
func likelyMistakes() map[string]likelyMistake {
	const update, read, remove = logical.UpdateOperation, logical.ReadOperation, logical.DeleteOperation
	says := func(pairs ...any) func(*mounttest.Mount) map[string]any {
		return fixed(mounttest.Also(map[string]any{}, pairs...))
	}
	noAdmin := func(m *mounttest.Mount) { m.Write("config", map[string]any{"remove_admin_token": true}) }
	managed := func(prepare func(m *mounttest.Mount), more ...any) func(m *mounttest.Mount) map[string]any {
		return func(m *mounttest.Mount) map[string]any {
			if prepare != nil {
				prepare(m)
			}
			return mounttest.Also(managedRole, more...)
		}
	}
	token := func(more ...any) func(m *mounttest.Mount) map[string]any {
		return func(m *mounttest.Mount) map[string]any { return mounttest.Also(m.NewToken(), more...) }
	}
	return map[string]likelyMistake{
		"admin: a port is missing":      {update, "config", says("server_url", "https://api.modal.com"), "port", "https://api.modal.com:443"},
		"admin: plain http":             {update, "config", says("server_url", "http://api.modal.com:80"), "server_url: must use https", "write https://api.modal.com:443"},
		"admin: a page for people":      {update, "config", says("server_url", "https://modal.com/settings/tokens"), "server_url: names Modal's website", "write https://api.modal.com:443"},
		"admin: unset variables":        {update, "config", fixed(mounttest.TokenParameters("", "")), "are empty", "remove_admin_token=true"},
		"admin: a new server alone":     {update, "config", says("server_url", "https://api.other.com:443"), "is sent only to the server that accepted it", "write token_id and token_secret"},
		"managed: no admin token":       {update, "roles/new", managed(noAdmin), "config has no admin token", "vault write modal/config token_id=… token_secret=-"},
		"managed: no environment":       {update, "roles/new", says("type", "managed"), "environment_roles is empty", "environment_roles=main=contributor"},
		"managed: unknown environment":  {update, "roles/new", managed(nil, "environment_roles", "mian=viewer"), "environment mian does not exist", "the workspace has main"},
		"managed: roles without a role": {update, "roles/ci", says("environment_roles", "main"), "environment_roles: ", `main=viewer,staging=contributor, say, or a JSON object as {"main":"viewer"}`},
		"managed: an odd role":          {update, "roles/ci", says("environment_roles", "main=admin"), "environment_roles: ", "use viewer or contributor"},
		"managed: brings a token":       {update, "rotate/ci", token(), "token_id, token_secret are for static roles", "leave them out"},
		"managed: verify":               {update, "rotate/ci", says("verify", false), "verify is for static roles", "leave it out"},
		"managed: force":                {update, "rotate/ci", says("force", true), "force is for static roles", "leave it out"},
		"managed: force in the role":    {update, "roles/ci", says("force", true), "force is for static roles", "leave it out"},
		"managed: beyond the limit": {update, "rotate/ci", func(m *mounttest.Mount) map[string]any {
			m.Write("config", map[string]any{"max_environment_role": "viewer"})
			return nil
		}, "more than config's max_environment_role", "write main=viewer to the role"},
		"managed: gone at Modal": {update, "roles/ci", func(m *mounttest.Mount) map[string]any {
			m.Modal.DeleteToken(m.TokenID("ci"))
			return map[string]any{"environment_roles": "main=viewer"}
		}, "no longer exists at Modal, so its token does not work either", "vault write -f modal/rotate/ci"},
		"managed: admin rejected": {update, "rotate/ci", func(m *mounttest.Mount) map[string]any {
			m.Modal.DeleteToken(mounttest.TextIn(m.Read("config"), "token_id"))
			return nil
		}, "Modal rejected the admin token", "vault write modal/config token_id=… token_secret=-"},
		"managed: undo without one": {update, "rotate/ci", says("to_previous", true), "no previous token in its grace period", "vault write -f modal/rotate/ci"},
		"schedule: six fields":      {update, "roles/ci", says("rotation_schedule", "0 30 3 * * SAT"), "this schedule has 6", `write five fields, as in "30 3 * * SAT"`},
		"schedule: Sunday as 7":     {update, "roles/ci", says("rotation_schedule", "30 3 * * 7"), "rotation_schedule: field 5, the day of the week", "takes 0 to 6 or SUN to SAT, where 0 is Sunday"},
		"period: none":              {update, "roles/ci", says("rotation_period", 0), "rotation_period: a period of 0 is not possible", "disable_automated_rotation=true"},
		"type: a capital":           {update, "roles/new", managed(nil, "type", "Managed"), "type: ", "did you mean managed? The types are static, managed, dynamic"},
		"type: fields of another": {
			update, "roles/ci", says("ttl", "1h", "max_ttl", "2h", "max_leases", 3, "revoke_previous", false),
			"role ci is managed, and revoke_previous is for static roles, max_leases, max_ttl, ttl are for dynamic roles", "leave them out",
		},
		"static: fields of another": {
			update, "roles/personal", says("ttl", "1h", "token_ttl", "2h", "environment_roles", "main=viewer"),
			"role personal is static, and environment_roles is for managed and dynamic roles, token_ttl is for managed roles, ttl is for dynamic roles", "leave them out",
		},
		"form: a parameter":        {read, "creds/ci", says("format", "toml"), `unknown field "format"`, "each form is a path of its own: read creds/ci/toml"},
		"form: an unknown form":    {read, "creds/ci", says("format", "json"), `unknown field "format"`, "read creds/ci/env, /dotenv, /toml or /profile"},
		"verify: a misspelt role":  {update, "verify/cii", nil, "no role is named cii", "did you mean ci?"},
		"approve: a misspelt role": {update, "rotate/persnal/approval", nil, "no role is named persnal", "did you mean personal?"},
		"token: a whole .modal.toml": {
			update, "rotate/personal", says("token_id", mounttest.SomeID, "token_secret", "[work]\ntoken_id = \""+mounttest.SomeID+"\"\ntoken_secret = \""+mounttest.SomeSecret+"\"\n"),
			"token_secret: this looks like a part of a .modal.toml", `paste only the part that begins with "as-", without quotes`,
		},
		"token: a line of a shell": {
			update, "rotate/personal", says("token_id", "export MODAL_TOKEN_ID="+mounttest.SomeID, "token_secret", "export MODAL_TOKEN_SECRET="+mounttest.SomeSecret),
			"token_id: this looks like a line that sets an environment variable", `token_secret: this looks like a line that sets an environment variable: paste only the part that begins with "as-"`,
		},
		"token: Modal's command": {
			update, "rotate/personal", says("token_id", mounttest.SomeID, "token_secret", "modal token set --token-id "+mounttest.SomeID+" --token-secret "+mounttest.SomeSecret),
			"token_secret: this looks like the command modal token set", `paste only the part that begins with "as-"`,
		},
		"duration: a week":          {update, "roles/ci", says("grace_period", "1w"), "grace_period: ", "300, 5m, 24h or 90d"},
		"duration: too long":        {update, "roles/ci", says("grace_period", "87600h"), "grace_period: ", "0s to 365d"},
		"field: a part of its name": {update, "roles/ci", says("grace", "1h"), `unknown field "grace"`, `did you mean grace_period`},
		"field: a part of several":  {update, "roles/ci", says("period", "1h"), `unknown field "period"`, `did you mean grace_period or rotation_period`},
		"field: letters swapped":    {update, "roles/ci", says("tpye", "managed"), `unknown field "tpye"`, `did you mean type`},
		"field: a dash":             {update, "roles/ci", says("grace-period", "1h"), `unknown field "grace-period"`, `did you mean grace_period`},
		"value: a BOM": {update, "rotate/personal", func(m *mounttest.Mount) map[string]any {
			pair := m.NewToken()
			return mounttest.Also(pair, "token_secret", "\ufeff"+mounttest.TextIn(pair, "token_secret"))
		}, "byte order mark (U+FEFF)", "save the file without it"},
		"token: halves swapped": {update, "roles/new", static(mounttest.TokenParameters(mounttest.SomeSecret, mounttest.SomeID)), "swapped", `token_id starts with "ak-"`},
		"token: a wrong secret": {update, "rotate/personal", token("token_secret", mounttest.SomeSecret), "Modal rejected token ak-", "check that the secret belongs to this ID"},
		"token: of another role": {update, "rotate/personal", func(m *mounttest.Mount) map[string]any {
			return mounttest.TokenParameters(m.TokenID("ci"), mounttest.TextIn(m.Read("creds/ci"), "token_secret"))
		}, "already belongs to another role of this mount", "bring another token"},
		"static: without a token": {update, "rotate/personal", nil, "a person must create its tokens", "vault write modal/rotate/personal token_id=… token_secret=-"},
		"static: token on roles":  {update, "roles/personal", token(), "has another token", "vault write modal/rotate/personal token_id="},
		"static: of another user": {update, "rotate/personal", func(m *mounttest.Mount) map[string]any {
			return mounttest.TokenData(m.Workspace.AddMember("bob").NewToken())
		}, `belongs to user "bob"`, "write force=true"},
		"role: a capital":             {update, "roles/CI", token("type", "static"), "upper-case letters", `write "ci"`},
		"role: an unknown name":       {update, "rotate/cii", nil, "no role is named cii", "did you mean ci?"},
		"role: without a type":        {update, "roles/new", token(), "type is missing", "type=static"},
		"queue: no such revocation":   {update, "revocations/x", nil, "the revocation queue has no token x", "vault list -detailed modal/orphans"},
		"queue: forget a valid token": {remove, "revocations/own", nil, "Modal still accepts token", "force=true"},
	}
}

func TestMistakes_AnswersNameTheCauseAndTheRemedy(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(likelyMistakes()), 30)
	for name, mistake := range likelyMistakes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.AddManaged("ci")
			m.AddRole("personal")
			text := answerTo(m, mistake)
			require.Contains(t, text, mistake.Cause)
			require.Contains(t, text, mistake.Remedy)
			require.LessOrEqual(t, strings.Count(text, "nothing was"), 1, text)
			for _, jargon := range []string{"keypair", "h0m0s", "TypeString", "rpc error"} {
				require.NotContains(t, text, jargon)
			}
		})
	}
}

func TestErrors_FromModalNameAttemptCauseStateAndNextCommand(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.SetOutage(true)
	status, text := failedAndStored(m, "rotate/ci", nil)
	require.Equal(t, http.StatusBadGateway, status)
	tried, came := strings.Index(text, "create service user vault-"), strings.Index(text, "the control plane is down")
	state, next := strings.Index(text, "the current token (version 1) stays"), strings.Index(text, "vault write -f modal/rotate/ci")
	require.NotEqual(t, -1, tried, text)
	require.IsIncreasing(t, []int{tried, came, state, next}, text)

	status, text = failedAndStored(m, "roles/new", managedRole)
	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, text, "the role was not stored: solve this problem, then write the role again")
}

func TestRotate_RepairsARoleWhoseServiceUserIsGone(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.DeleteToken(m.TokenID("ci"))
	text := m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"environment_roles": "main=viewer"})
	require.Contains(t, text, "vault write -f modal/rotate/ci")
	m.Write("rotate/ci", nil)
	m.Write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	require.Equal(t, "viewer", m.ServiceUser(m.TokenID("ci")).Roles["main"])
}

// likelyMistake is a request with a mistake that people are likely to make, with the cause and the remedy that its
// answer must name. The mount has an admin token, a managed role ci and a static role personal.
type likelyMistake struct {
	Op            logical.Operation
	Path          string
	Data          func(m *mounttest.Mount) map[string]any
	Cause, Remedy string
}

// answerTo sends a mistake and returns the text of the refusal.
func answerTo(m *mounttest.Mount, mistake likelyMistake) string {
	m.T.Helper()
	path := mistake.Path
	if path == "revocations/own" {
		old := m.TokenID("personal")
		m.Write("rotate/personal", m.NewToken())
		path = "revocations/" + old
	}
	var data map[string]any
	if mistake.Data != nil {
		data = mistake.Data(m)
	}
	resp, err := m.Handle(mistake.Op, path, data)
	if !errors.Is(err, logical.ErrInvalidRequest) {
		require.Error(m.T, err, "%v", resp)
		return err.Error()
	}
	return mounttest.ErrorText(resp)
}

// failedAndStored sends a request that must fail and that may leave a revocation. It returns the status and the text.
func failedAndStored(m *mounttest.Mount, path string, data map[string]any) (int, string) {
	m.T.Helper()
	resp, err := m.Handle(logical.UpdateOperation, path, data)
	require.Error(m.T, err)
	status, failure := logical.RespondErrorCommon(&logical.Request{Operation: logical.UpdateOperation}, resp, err)
	logical.AdjustErrorStatusCode(&status, failure)
	return status, failure.Error()
}
