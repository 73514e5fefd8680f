// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
	"vault-plugin-secrets-modal/internal/request"
)

// storedField is a field that a write stores. After a write of value a read shows shown. After a write of "" a read
// shows shownByDefault. If the field cannot be empty, the write of "" is refused, and refusal is part of the error.
type storedField struct {
	path, field           string
	value                 any
	shown, shownByDefault any
	refusal               string
}

func storedFields(url, pem string) []storedField {
	return []storedField{
		{path: "config", field: "server_url", value: url, shown: url, shownByDefault: "https://api.modal.com:443"},
		{path: "config", field: "ca_cert", value: pem, shown: pem},
		{path: "config", field: "request_timeout", value: "20s", shown: int64(20), shownByDefault: int64(15)},
		{path: "config", field: "allowed_environments", value: "main,staging", shown: []string{"main", "staging"}},
		{path: "config", field: "max_environment_role", value: "viewer", shown: "viewer"},
		{path: "config", field: "verification_interval", value: "1h", shown: int64(3600), shownByDefault: int64(86400)},
		{path: "config", field: "paused", value: true, shown: true, shownByDefault: false},
		{path: "config", field: "pinned_workspace", value: "acme", shown: "acme"},

		{path: "roles/static", field: "type", value: "static", shown: "static", refusal: "type cannot be empty"},
		{path: "roles/static", field: "description", value: " payments, OPS-1234 ", shown: "payments, OPS-1234"},
		{path: "roles/static", field: "profile", value: "work", shown: "work", shownByDefault: "static"},
		{path: "roles/static", field: "environment", value: "main", shown: "main"},
		{path: "roles/static", field: "refresh_interval", value: "1m", shown: int64(60), shownByDefault: int64(300)},
		{path: "roles/static", field: "grace_period", value: "1h", shown: int64(3600), shownByDefault: int64(86400)},
		{path: "roles/static", field: "rotation_period", value: "30d", shown: int64(30 * 86400), shownByDefault: int64(90 * 86400)},

		{path: "roles/static", field: "revoke_previous", value: false, shown: false, shownByDefault: true},

		{path: "roles/managed", field: "environment", value: "staging", shown: "staging"},
		{path: "roles/managed", field: "environment_roles", value: "main=viewer", shown: `{"main":"viewer"}`, refusal: "environment_roles is empty"},
		{path: "roles/managed", field: "scoped", value: false, shown: false, shownByDefault: true},
		{path: "roles/managed", field: "token_ttl", value: "60d", shown: int64(60 * 86400)},
		{path: "roles/managed", field: "rotation_schedule", value: "30  3 * * SAT", shown: "30 3 * * SAT"},
		{path: "roles/scheduled", field: "rotation_window", value: "2h", shown: int64(7200)},
		{path: "roles/managed", field: "hold_while_used", value: "2h", shown: int64(7200)},
		{path: "roles/dynamic", field: "ttl", value: "30m", shown: int64(1800), shownByDefault: int64(3600)},
		{path: "roles/dynamic", field: "max_ttl", value: "2h", shown: int64(7200), shownByDefault: int64(86400)},
		{path: "roles/dynamic", field: "max_leases", value: 3, shown: int64(3), shownByDefault: int64(0)},
		{path: "roles/dynamic", field: "service_user_name_template", value: "by-{{.DisplayName}}", shown: "by-{{.DisplayName}}", shownByDefault: "{{.RoleName}}"},
		{path: "roles/managed", field: "disable_automated_rotation", value: true, shown: true, shownByDefault: false},
	}
}

func TestWrites_AbsentOrNullKeepsAValueAndEmptyRestoresTheDefault(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("static")
	m.AddManaged("managed", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	m.AddManaged("scheduled", map[string]any{"rotation_schedule": "0 3 * * *"})
	m.Write("roles/dynamic", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	// Without an admin token a write of config may change one field alone.
	m.Write("config", map[string]any{"remove_admin_token": true})
	admin := m.NewToken()
	pem := modaltest.Start(t, modaltest.WithTLS()).CACert()
	for _, f := range storedFields(m.Modal.URL(), pem) {
		where := f.path + " " + f.field
		if f.path != "config" && strings.HasPrefix(f.path, "roles/managed") {
			m.Write("config", admin)
		}
		reads := func() any {
			value := m.Read(f.path)[f.field]
			if text, isText := f.shown.(string); isText && strings.HasPrefix(text, "{") {
				return mounttest.ToJSON(t, value)
			}
			return value
		}
		write := func(value any) {
			data := map[string]any{f.field: value}
			if f.field == "ca_cert" { // a new CA needs force while tokens are stored
				data["force"] = true
			}
			m.Write(f.path, data)
		}
		write(f.value)
		require.Equal(t, f.shown, reads(), where)
		for _, keeps := range []map[string]any{{}, {f.field: nil}} {
			before := m.Storage.Snapshot(t)
			m.Write(f.path, keeps)
			m.UnchangedSince(before)
		}
		if f.refusal != "" {
			require.Contains(t, m.Refused(logical.UpdateOperation, f.path, map[string]any{f.field: ""}), f.refusal, where)
			continue
		}
		write("")
		require.Equal(t, f.shownByDefault, reads(), where)
		if f.path == "config" {
			m.Write("config", map[string]any{f.field: map[string]any{"server_url": m.Modal.URL()}[f.field]})
		}
	}
}

// unstoredFields are fields that apply to one request and are not stored.
var unstoredFields = map[string]map[string]any{
	"config":        {"token_id": mounttest.SomeID, "token_secret": mounttest.SomeSecret, "verify": false, "remove_admin_token": true, "grace_period": 60, "force": true},
	"config/rotate": {"token_id": mounttest.SomeID, "token_secret": mounttest.SomeSecret, "grace_period": 60, "force": true},

	"config/approval":   {"token_ttl": "30d", "grace_period": 60, "force": true, "lapse_after": "1h", "pinned_workspace": "acme"},
	"orphans":           {"names": "vault-x", "dry_run": false, "accept": true},
	"rotate/x/approval": {"token_ttl": "30d", "grace_period": 60, "force": true, "lapse_after": "1h", "pinned_workspace": "acme"},

	"roles/x":        {"token_id": mounttest.SomeID, "token_secret": mounttest.SomeSecret, "verify": false, "force": true},
	"rotate/x":       {"token_id": mounttest.SomeID, "token_secret": mounttest.SomeSecret, "verify": false, "grace_period": 60, "force": true, "to_previous": true, "dry_run": true},
	"revocations/ak": {"force": true},
	"lookup":         {"token_id": mounttest.SomeID, "service_user": "vault-2f9f1a7c-ci-abcdefgh"},
}

// decoded returns a decoded request to a path as text, or its refusal.
func decoded(m *mounttest.Mount, path string, body map[string]any) (ask, refused string) {
	return modalsecrets.DecodedForTest(m.Backend, path, body)
}

func TestWrites_NullAndEmptyMeanTheDefaultOfUnstoredFields(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	for path, fields := range unstoredFields {
		absent, _ := decoded(m, path, nil)
		for field, value := range fields {
			null, refused := decoded(m, path, map[string]any{field: nil})
			require.Equal(t, absent, null, "%s %s", path, field)
			require.Empty(t, refused)
			empty, refused := decoded(m, path, map[string]any{field: ""})
			if path != "lookup" && (field == "token_id" || field == "token_secret") {
				require.Contains(t, refused, "is missing: give both token_id and token_secret")
				continue
			}
			require.Equal(t, absent, strings.Replace(empty, "Given:[verify]", "Given:[]", 1), "%s %s", path, field)
			said, refused := decoded(m, path, map[string]any{field: value})
			require.NotEqual(t, absent, said, "%s %s", path, field)
			require.Empty(t, refused)
		}
	}
}

func TestWrites_TheTwoTablesOfTestsCoverEveryField(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	covered := map[string][]string{}
	for _, f := range storedFields("", "") {
		path := strings.NewReplacer("static", "x", "managed", "x", "scheduled", "x", "dynamic", "x").Replace(f.path)
		covered[path] = append(covered[path], f.field)
	}
	for path, fields := range unstoredFields {
		covered[path] = append(covered[path], slices.Collect(maps.Keys(fields))...)
	}
	for _, path := range m.Paths {
		if path.Operations[logical.UpdateOperation] == nil {
			continue
		}
		where := strings.NewReplacer("^", "", "/?$", "", "(?P<role>[^/]+)", "x", "$", "", "(?P<id>[^/]+)", "ak").Replace(path.Pattern)
		for field := range path.Fields {
			if field != request.FieldRole && field != request.FieldID && field != "wait" && field != "after" && field != "limit" { // fields of reads and lists
				require.Contains(t, covered[where], field, where)
			}
		}
	}
}

func TestWrites_NullNeverEnablesADisabledRotation(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"disable_automated_rotation": true})
	nothing := map[string]any{}
	for field := range m.Route("roles/ci").Fields {
		if field != request.FieldRole {
			nothing[field] = nil
		}
	}
	before := m.Storage.Snapshot(t)
	m.Write("roles/ci", nothing)
	m.UnchangedSince(before)
	require.Equal(t, true, m.Read("roles/ci")["disable_automated_rotation"])
}

func TestMistakes_OfOneRequestAreReportedTogetherWithoutValues(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	text := m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{
		"type": "hunter2", "profile": "hunter 2", "environment": []any{"hunter2"}, "grace_period": "hunter2", "scoped": "hunter2",
		"environment_roles": "hunter2", "rotation_schedule": "hunter2", "token_id": "hunter2", "refesh_interval": "hunter2",
	})
	for _, part := range []string{
		"type: write static, managed, dynamic", "profile: use", "environment: write one text", "grace_period: write a duration", "scoped: write true or false",
		"environment_roles: write main=viewer,staging=contributor", "rotation_schedule: write five fields", "token_id must start", `did you mean refresh_interval`,
	} {
		require.Contains(t, text, part)
	}
	require.NotContains(t, text, "hunter")
	require.Equal(t, 1, strings.Count(text, "nothing was changed"))
}

func TestFlags_AcceptOnlyTrueOrFalse(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci")
	for _, odd := range []any{[]any{}, map[string]any{}, []any{true}, []any{"true"}, 2, -1, 0.5, json.Number("7"), "yes", "on", " true"} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"dry_run": odd}), "dry_run: write true or false", "%#v", odd)
	}
	for _, yes := range []any{true, "true", "True", "T", "1", 1, 1.0, json.Number("1")} {
		require.NotEmpty(t, m.Write("rotate/ci", map[string]any{"dry_run": yes}).Data["plan"], "%#v", yes)
	}
	require.Equal(t, id, m.TokenID("ci"), "a dry run rotates nothing")
}

func TestEnvironmentRoles_AmbiguousInputIsRefused(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	for _, odd := range []any{
		"main=viewer,main=contributor", "main=viewer,main=viewer",
		[]any{"main=contributor", "main=viewer"},
		[]any{"main=viewer,staging=viewer"},
		map[string]any{"main": "viewer,staging=contributor"},
		map[string]any{"main": nil},
		map[string]any{"main": []any{"viewer"}},
		"main", "main=", "=viewer", ",", "main=viewer,", "main=viewer=contributor",
		[]any{nil},
		1, true, "main=owner",
	} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"environment_roles": odd}), "environment_roles: ", "%#v", odd)
	}
	for _, both := range []any{
		"main=viewer,staging=contributor", "main=viewer, staging=contributor",
		[]any{"main=viewer", "staging=contributor"},
		map[string]any{"main": "viewer", "staging": "contributor"},
	} {
		m.Write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
		m.Write("roles/ci", map[string]any{"environment_roles": both})
		require.JSONEq(t, `{"main":"viewer","staging":"contributor"}`, mounttest.ToJSON(t, m.Read("roles/ci")["environment_roles"]))
	}
	for _, odd := range []any{"main,", ",", []any{""}, "main,main", []any{"main,staging"}, map[string]any{"main": "viewer"}, 1} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "config", map[string]any{"allowed_environments": odd}), "allowed_environments: ", "%#v", odd)
	}
}
