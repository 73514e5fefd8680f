// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestSecrets_InMalformedValuesAreNotRepeated(t *testing.T) {
	t.Parallel()
	for path, extra := range map[string]map[string]any{"roles/new": {"type": "static"}, "roles/ci": {}, "config": {}, "rotate/ci": {}} {
		for _, value := range []any{[]any{"as-typo", mounttest.SomeSecret}, map[string]any{"value": mounttest.SomeSecret}} {
			m := mounttest.New(t)
			m.AddRole("ci")
			said := m.Refused(logical.UpdateOperation, path, mounttest.Also(extra, "token_id", mounttest.SomeID, "token_secret", value))
			require.Contains(t, said, "token_secret: write one text")
			require.NotContains(t, said+m.Logs.String(), mounttest.SomeSecret, path)
		}
	}
}

func TestSecrets_InOtherFieldsAreRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("ci")
	m.AddManaged("man")
	for path, extra := range map[string]map[string]any{
		"config": {}, "roles/ci": {}, "roles/man": {}, "roles/new": {"type": "static", "token_id": mounttest.SomeID}, "roles/newm": {"type": "managed"},
		"rotate/ci": {"token_id": mounttest.SomeID}, "rotate/man": {}, "revocations/ak-x": {},
	} {
		for field := range m.Route(path).Fields {
			for _, value := range []any{
				mounttest.SomeSecret,
				[]any{mounttest.SomeSecret},
				map[string]any{"main": mounttest.SomeSecret},
				map[string]any{mounttest.SomeSecret: "viewer"},
				"main=" + mounttest.SomeSecret, mounttest.SomeSecret + ",x",
				"x " + mounttest.SomeSecret, "x" + mounttest.SomeSecret,
				map[string]any{"a": []any{map[string]any{"b": mounttest.SomeSecret}}},
			} {
				if _, isText := value.(string); isText && field == "token_secret" {
					continue
				}
				text := m.Refused(logical.UpdateOperation, path, mounttest.Also(extra, field, value))
				require.NotContains(t, strings.ToLower(text), "bbbbbb", "%s %s", path, field)
			}
		}
		text := m.Refused(logical.UpdateOperation, path, mounttest.Also(extra, mounttest.SomeSecret, "x"))
		require.NotContains(t, text, mounttest.SomeSecret)
		require.Contains(t, text, "the name of a field has the shape of a token secret")
	}
	for _, path := range []string{"creds/", "roles/", "rotate/", "revocations/"} {
		for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation, logical.DeleteOperation} {
			if m.Route(path + "x").Operations[op] != nil {
				text := m.Refused(op, path+mounttest.SomeSecret, nil)
				require.Contains(t, text, "a part of the path has the shape of a token secret")
				require.NotContains(t, text, mounttest.SomeSecret)
			}
		}
	}
	require.NotContains(t, m.Logs.String(), mounttest.SomeSecret)
}

func TestSecrets_SimilarNamesAreNotMistakenForSecrets(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for _, name := range []string{
		"canvas-training-environment", "as", "atlas-production", "as-ci", "platform-as-a-service", "ml-as-a-service", "data.as-platform",
		"news-recommendationservice", "aws-infrastructuremonitoring", "windows-buildandreleasepipeline", "as-infrastructuremonitoring2",
	} {
		m.Workspace.AddEnvironment(name)
		m.AddManaged(name, map[string]any{"profile": name, "environment_roles": map[string]any{name: "viewer"}})
		m.Write("rotate/"+name, map[string]any{"grace_period": "1h"})
		m.AddRole("static." + name)
		for _, path := range []string{"roles/", "creds/", "rotate/"} {
			m.Read(path + name)
		}
		m.Write("verify/"+name, nil)
		m.Must(logical.ListOperation, "roles", map[string]any{"after": name})
		m.Must(logical.ReadOperation, "revocations/"+name, nil)
	}
	for _, id := range m.List("revocations") {
		m.Read("revocations/" + id)
	}
}

func TestSecrets_AppearOnlyInCreds(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	var seen strings.Builder
	record := func(op logical.Operation, path string, data map[string]any) {
		resp, err := m.Handle(op, path, data)
		if !strings.HasPrefix(path, "creds/") {
			fmt.Fprintf(&seen, "%s %s: %+v %v\n", op, path, resp, err)
			if resp != nil {
				seen.WriteString(mounttest.ToJSON(t, resp.Data) + "\n")
			}
		}
	}
	first, second, admin := m.NewToken(), m.NewToken(), m.NewToken()
	record(logical.UpdateOperation, "config", admin)
	record(logical.UpdateOperation, "config", mounttest.TokenParameters(admin["token_id"].(string), mounttest.SomeSecret))
	record(logical.UpdateOperation, "roles/ci", mounttest.Also(first, "type", "static"))
	record(logical.UpdateOperation, "roles/other", mounttest.Also(first, "type", "static"))
	record(logical.UpdateOperation, "roles/swapped", mounttest.Also(mounttest.TokenParameters(first["token_secret"].(string), first["token_id"].(string)), "type", "static"))
	record(logical.UpdateOperation, "roles/odd", mounttest.Also(mounttest.TokenParameters(first["token_id"].(string), first["token_secret"].(string)+"\"x"), "type", "static"))
	record(logical.UpdateOperation, "rotate/ci", second)
	record(logical.UpdateOperation, "rotate/ci", mounttest.Also(m.NewToken(), "token_secret", second["token_secret"]))
	// The engine must not repeat a secret that a server repeats.
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal, Message: "bad secret " + second["token_secret"].(string), Times: -1})
	record(logical.UpdateOperation, "rotate/ci", m.NewToken())
	m.Clock.Advance(25 * time.Hour)
	m.Tick()
	m.Modal.ClearFaults()
	for _, path := range []string{"config", "roles/ci", "rotate/ci", "creds/ci", "creds/ci/env", "revocations/" + first["token_id"].(string)} {
		record(logical.ReadOperation, path, nil)
		record(logical.HelpOperation, path, nil)
	}
	for _, path := range []string{"roles", "rotate", "revocations"} {
		record(logical.ListOperation, path, nil)
	}
	record(logical.UpdateOperation, "revocations/"+first["token_id"].(string), nil)
	record(logical.DeleteOperation, "roles/ci", nil)
	record(logical.DeleteOperation, "revocations/"+first["token_id"].(string), map[string]any{"force": true})
	record(logical.DeleteOperation, "config", nil)
	for _, event := range m.Events.Events {
		seen.WriteString(event.Event.String() + "\n")
	}
	seen.WriteString(m.Logs.String())

	require.Contains(t, seen.String(), first["token_id"], "the test must see token IDs")
	require.False(t, m.HoldsSecret(seen.String()))
}
