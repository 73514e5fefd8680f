// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// FuzzRequests makes requests from random bytes: any operation on any path with any JSON. For every request the engine
// succeeds or explains the caller's mistake. A mistake changes nothing. No answer contains a secret, and every role keeps
// a working token.
//
//	go test -run '^$' -fuzz FuzzRequests -fuzztime 50000x ./test/lifecycle
func FuzzRequests(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2)) // the same corpus every time
	sizes := 96
	if testing.Short() {
		sizes = 24
	}
	for size := range sizes {
		program := make([]byte, 4+4*size)
		for i := range program {
			program[i] = byte(random.Uint32())
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		z := newFuzzed(t, program)
		for count := 0; len(z.bytes) > 0 && count < 6; count++ {
			z.step()
		}
		z.checkRoles()
		z.requireNoSecret(z.m.Logs.String(), "the log")
	})
}

// fuzzed is a mount and the bytes from which the requests are made.
type fuzzed struct {
	t     *testing.T
	m     *mounttest.Mount
	bytes []byte
}

func newFuzzed(t *testing.T, program []byte) *fuzzed {
	t.Helper()
	m := mounttest.NewManaged(t)
	m.AddRole("ci")
	m.AddManaged("man")
	m.Write("rotate/man", nil)
	m.Write("roles/empty", map[string]any{"type": "static"})
	m.Write("roles/dyn", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	return &fuzzed{t: t, m: m, bytes: program}
}

// below takes a byte and returns a number below count, 0 if no byte is left.
func (z *fuzzed) below(count int) int {
	if len(z.bytes) == 0 {
		return 0
	}
	chosen := int(z.bytes[0]) % count
	z.bytes = z.bytes[1:]
	return chosen
}

func pick[T any](z *fuzzed, choices ...T) T { return choices[z.below(len(choices))] }

// step sends one request, or lets time pass.
func (z *fuzzed) step() {
	if z.below(16) == 15 {
		z.m.Clock.Advance(time.Duration(z.below(48)) * time.Hour)
		z.m.Tick()
		return
	}
	op, path := z.operation(), z.path()
	body := z.body(path)
	if url, other := body["server_url"]; path == "config" && other && url != z.m.Modal.URL() {
		body["verify"] = false // a test calls no server but its own
	}
	faulty := z.below(12) == 11
	if faulty {
		z.m.Modal.Inject(pick(z, "TokenInfoGet", "ServiceUserCreate", "ServiceUserDelete", "EnvironmentRoleSet", "ServiceUserInfo", "ServiceUserList"),
			modaltest.Fault{
				Code:    pick(z, codes.PermissionDenied, codes.Unauthenticated, codes.NotFound, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented),
				Message: "no: " + mounttest.SomeSecret, AfterCommit: z.below(2) == 1,
			})
	}
	z.send(op, path, body, faulty)
	z.m.Modal.ClearFaults()
	z.reconnect()
}

func (z *fuzzed) operation() logical.Operation {
	return pick[logical.Operation](z, logical.UpdateOperation, logical.UpdateOperation, logical.UpdateOperation, logical.UpdateOperation, logical.ReadOperation,
		logical.DeleteOperation, logical.ListOperation, logical.HelpOperation, logical.PatchOperation)
}

func (z *fuzzed) path() string {
	ids := append(z.m.List("revocations"), "ak-x", z.text())
	name := pick(z, "ci", "man", "empty", "dyn", "new", "CI", "c..i", z.text())
	return pick(z, "config", "roles/"+name, "rotate/"+name, "roles/"+name, "rotate/"+name, "revocations/"+pick(z, ids...),
		"creds/"+name+pick(z, "", "/env", "/dotenv", "/toml", "/profile", "/x"), pick(z, "verify/", "rotate/")+name+pick(z, "", "/approval"),
		pick(z, "config/rotate", "config/approval", "orphans", "status"), pick(z, "roles", "rotate/", "revocations", "", "creds/", z.text()))
}

// body returns some of the path's fields, each with a plausible or an arbitrary value.
func (z *fuzzed) body(path string) map[string]any {
	body := map[string]any{}
	if route := z.m.Route(path); route != nil {
		for _, field := range slices.Sorted(maps.Keys(route.Fields)) {
			switch z.below(6) {
			case 0:
				body[field] = z.plausible(field)
			case 1:
				body[field] = z.anything(0)
			}
		}
		if route.Fields["token_id"] != nil && z.below(3) == 0 {
			maps.Copy(body, z.m.NewToken())
		}
	}
	if z.below(16) == 15 {
		body[z.text()] = z.anything(0)
	}
	return z.viaJSON(body)
}

// viaJSON returns a body as Vault's plugin protocol delivers it.
func (z *fuzzed) viaJSON(body map[string]any) map[string]any {
	raw, err := json.Marshal(body)
	require.NoError(z.t, err)
	body = nil
	require.NoError(z.t, json.Unmarshal(raw, &body))
	return body
}

// plausible returns a value that fits a field.
func (z *fuzzed) plausible(field string) any {
	values := fieldValues(z.m)[field]
	require.NotEmpty(z.t, values, "add values of the field %s to fieldValues", field)
	return pick(z, values...)
}

// fieldValues returns values that fit each request field. Add each new field here.
func fieldValues(m *mounttest.Mount) map[string][]any {
	flag := []any{true, false, "true", "0", ""}
	return map[string][]any{
		// fields of the paths and the lists
		"role": {"ci"}, "id": {"ak-x"}, "limit": {0, 1, "2", ""}, "after": {"", "a"},
		"description": {"payments, OPS-1234", ""}, "service_user_name_template": {"{{.RoleName}}-{{.DisplayName}}", "{{.Nothing}}", ""},
		// flags
		"accept": flag, "disable_automated_rotation": flag, "dry_run": flag, "force": flag, "paused": flag, "remove_admin_token": flag,
		"revoke_previous": flag, "scoped": flag, "to_previous": flag, "verify": flag,
		// times
		"grace_period": {0, "1h", "24h", ""}, "hold_while_used": {"", "7d"}, "lapse_after": {"", "1h"}, "max_ttl": {"", "2h"}, "refresh_interval": {"5s", "5m", 60, ""},
		"request_timeout": {"", "15s"}, "rotation_period": {"90d", "1h", 86400, ""}, "rotation_schedule": {"", "30 3 * * SAT", "* * * * *"},
		"rotation_window": {"", 0, "1h"}, "token_ttl": {"", 0, "60d", "10m"}, "ttl": {"", "1h"}, "verification_interval": {"", "1h"}, "wait": {"", 0, "1s"},
		// rights
		"allowed_environments": {"", "main", []string{"main", "staging"}}, "environment": {"", "main", "staging"},
		"environment_roles":    {"main=viewer", map[string]any{"main": "contributor", "staging": "viewer"}, []string{"main=viewer"}, "nowhere=viewer"},
		"max_environment_role": {"", "viewer", "contributor"}, "max_leases": {"", 0, 1},
		// the rest
		"ca_cert": {""}, "names": {"", "vault-x"}, "pinned_workspace": {"", "acme", "ac-1"}, "profile": {"p", ""}, "server_url": {m.Modal.URL(), "https://127.0.0.1:1", ""},
		"service_user": {"", "vault-2f9f1a7c-ci-abcdefgh"}, "token_id": {mounttest.SomeID, "", m.StoredTokenID("ci")}, "token_secret": {mounttest.SomeSecret, ""},
		"type": {"static", "managed", "dynamic"},
	}
}

func TestFuzz_HasValuesForEveryRequestField(t *testing.T) {
	t.Parallel()
	m := newFuzzed(t, nil).m
	values, fields := fieldValues(m), map[string]bool{}
	for _, path := range m.Paths {
		for field := range path.Fields {
			fields[field] = true
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(fields)), slices.Collect(maps.Keys(values)))
}

func (z *fuzzed) anything(depth int) any {
	switch choice := z.below(8); {
	case choice == 0:
		return nil
	case choice == 1:
		return z.below(2) == 1
	case choice == 2:
		return pick[any](z, 0, 1, -1, 2, 0.5, 1e18, 1e300, 18446744073, 9223372036854775807)
	case choice == 3 && depth < 3:
		list := []any{}
		for range z.below(4) {
			list = append(list, z.anything(depth+1))
		}
		return list
	case choice == 4 && depth < 3:
		object := map[string]any{}
		for range z.below(4) {
			object[z.text()] = z.anything(depth + 1)
		}
		return object
	}
	return z.text()
}

func (z *fuzzed) text() string {
	if z.below(3) == 0 {
		length := min(z.below(24), len(z.bytes))
		raw := string(z.bytes[:length])
		z.bytes = z.bytes[length:]
		return raw
	}
	return pick(z, "", "a", "main", "60", "true", mounttest.SomeSecret, "x"+mounttest.SomeSecret, "main="+mounttest.SomeSecret, "\n", "\"]\n[evil]\n", "..", "%2e", "\u202e", " ci", "-1", "1e309",
		"99999999999999999999", "9999999d", "1h", "main=viewer", "main=viewer,main=contributor", "=", ",,,", "* * * * *", "0 0 30 2 *", "TZ=UTC * * * * *",
		"https://u:p@h:1", "http://[::1]:1", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", strings.Repeat("0,", 2000), strings.Repeat("é", 700))
}

// send sends a request as Vault does and checks the answer.
func (z *fuzzed) send(op logical.Operation, path string, body map[string]any, faulty bool) {
	m := z.m
	where := fmt.Sprintf("%s %q %s", op, path, mounttest.ToJSON(z.t, body))
	before, creates := m.Storage.Snapshot(z.t), len(m.Modal.Calls("ServiceUserCreate"))
	m.Storage.Plan(mounttest.Cut{})
	resp, err := m.Handle(op, path, body)
	status, failure := logical.RespondErrorCommon(&logical.Request{Operation: op}, resp, err)
	if failure != nil {
		logical.AdjustErrorStatusCode(&status, failure)
	}
	switch {
	case err == nil && failure == nil:
		status = http.StatusOK
	case faulty:
		require.True(z.t, status < 500 || status == http.StatusBadGateway, "%s: %d %v", where, status, failure)
	default:
		require.Less(z.t, status, 500, "%s: %v", where, failure)
		m.UnchangedSince(before)
		if len(m.Modal.Calls("ServiceUserCreate")) == creates { // a creation stores a revocation first
			require.Empty(z.t, m.Storage.Recorded(), where)
		}
	}
	if op != logical.UpdateOperation && op != logical.DeleteOperation && len(m.Modal.Calls("ServiceUserCreate")) == creates {
		require.Empty(z.t, m.Storage.Recorded(), where)
	}
	if !strings.HasPrefix(path, "creds/") || status != http.StatusOK {
		z.requireNoSecret(fmt.Sprintf("%+v %v %v", resp, err, failure), where)
	}
	if op == logical.DeleteOperation && strings.HasPrefix(path, "revocations/") && status == http.StatusOK {
		z.deleteForgotten()
	}
}

// requireNoSecret checks that a text contains no secret, with or without its prefix.
func (z *fuzzed) requireNoSecret(text, where string) {
	require.False(z.t, z.m.HoldsSecret(text), where)
}

// deleteForgotten deletes at Modal the service users whose revocations an operator removed.
func (z *fuzzed) deleteForgotten() {
	orphans := z.m.Modal.Orphans(z.m.TrackedServiceUsers())
	for _, user := range z.m.Modal.ServiceUsers() {
		if slices.Contains(orphans, user.Name) {
			z.m.Modal.DeleteToken(user.TokenID)
		}
	}
}

// reconnect sets the mount's server to its own emulator again.
func (z *fuzzed) reconnect() {
	resp, err := z.m.Handle(logical.ReadOperation, "config", nil)
	require.NoError(z.t, err)
	if resp == nil || resp.Data["server_url"] != z.m.Modal.URL() {
		z.m.Write("config", mounttest.Also(z.m.NewToken(), "server_url", z.m.Modal.URL()))
	}
}

// checkRoles checks that Modal accepts every role's token, except unverified and expired tokens.
func (z *fuzzed) checkRoles() {
	for _, name := range z.m.List("roles") {
		cred := z.m.Credential(name)
		if cred != nil && cred.Verified() && (cred.ExpiresAt.IsZero() || z.m.Clock.Now().Before(cred.ExpiresAt)) {
			require.True(z.t, z.m.Modal.Accepts(cred.ID, cred.Secret), "role %s has a token that Modal rejects", name)
		}
	}
}
