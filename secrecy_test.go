// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestSecrets_InMalformedValuesAreNotRepeated(t *testing.T) {
	t.Parallel()
	for path, extra := range map[string]map[string]any{"roles/new": {"type": "static"}, "roles/ci": {}, "config": {}, "rotate/ci": {}} {
		for _, value := range []any{[]any{"as-typo", someSecret}, map[string]any{"value": someSecret}} {
			m := newMount(t)
			m.addRole("ci")
			said := m.refused(logical.UpdateOperation, path, also(extra, "token_id", someID, "token_secret", value))
			require.Contains(t, said, "token_secret: write one text")
			require.NotContains(t, said+m.logs.String(), someSecret, path)
		}
	}
}

func TestSecrets_InOtherFieldsAreRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("ci")
	m.addManaged("man")
	for path, extra := range map[string]map[string]any{
		"config": {}, "roles/ci": {}, "roles/man": {}, "roles/new": {"type": "static", "token_id": someID}, "roles/newm": {"type": "managed"},
		"rotate/ci": {"token_id": someID}, "rotate/man": {}, "revocations/ak-x": {},
	} {
		for field := range m.Route(path).Fields {
			for _, value := range []any{
				someSecret,
				[]any{someSecret},
				map[string]any{"main": someSecret},
				map[string]any{someSecret: "viewer"},
				"main=" + someSecret, someSecret + ",x",
				"x " + someSecret, "x" + someSecret,
				map[string]any{"a": []any{map[string]any{"b": someSecret}}},
			} {
				if _, isText := value.(string); isText && field == "token_secret" {
					continue
				}
				text := m.refused(logical.UpdateOperation, path, also(extra, field, value))
				require.NotContains(t, strings.ToLower(text), "bbbbbb", "%s %s", path, field)
			}
		}
		text := m.refused(logical.UpdateOperation, path, also(extra, someSecret, "x"))
		require.NotContains(t, text, someSecret)
		require.Contains(t, text, "the name of a field has the shape of a token secret")
	}
	for _, path := range []string{"creds/", "roles/", "rotate/", "revocations/"} {
		for _, op := range []logical.Operation{logical.ReadOperation, logical.UpdateOperation, logical.DeleteOperation} {
			if m.Route(path + "x").Operations[op] != nil {
				text := m.refused(op, path+someSecret, nil)
				require.Contains(t, text, "a part of the path has the shape of a token secret")
				require.NotContains(t, text, someSecret)
			}
		}
	}
	require.NotContains(t, m.logs.String(), someSecret)
}

func TestSecrets_SimilarNamesAreNotMistakenForSecrets(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	for _, name := range []string{
		"canvas-training-environment", "as", "atlas-production", "as-ci", "platform-as-a-service", "ml-as-a-service", "data.as-platform",
		"news-recommendationservice", "aws-infrastructuremonitoring", "windows-buildandreleasepipeline", "as-infrastructuremonitoring2",
	} {
		m.workspace.AddEnvironment(name)
		m.addManaged(name, map[string]any{"profile": name, "environment_roles": map[string]any{name: "viewer"}})
		m.write("rotate/"+name, map[string]any{"grace_period": "1h"})
		m.addRole("static." + name)
		for _, path := range []string{"roles/", "creds/", "rotate/"} {
			m.read(path + name)
		}
		m.write("verify/"+name, nil)
		m.must(logical.ListOperation, "roles", map[string]any{"after": name})
		m.must(logical.ReadOperation, "revocations/"+name, nil)
	}
	for _, id := range m.list("revocations") {
		m.read("revocations/" + id)
	}
}

func TestSecrets_AppearOnlyInCreds(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	var seen strings.Builder
	record := func(op logical.Operation, path string, data map[string]any) {
		resp, err := m.handle(op, path, data)
		if !strings.HasPrefix(path, "creds/") {
			fmt.Fprintf(&seen, "%s %s: %+v %v\n", op, path, resp, err)
			if resp != nil {
				seen.WriteString(toJSON(t, resp.Data) + "\n")
			}
		}
	}
	first, second, admin := m.newToken(), m.newToken(), m.newToken()
	record(logical.UpdateOperation, "config", admin)
	record(logical.UpdateOperation, "config", tokenParameters(admin["token_id"].(string), someSecret))
	record(logical.UpdateOperation, "roles/ci", also(first, "type", "static"))
	record(logical.UpdateOperation, "roles/other", also(first, "type", "static"))
	record(logical.UpdateOperation, "roles/swapped", also(tokenParameters(first["token_secret"].(string), first["token_id"].(string)), "type", "static"))
	record(logical.UpdateOperation, "roles/odd", also(tokenParameters(first["token_id"].(string), first["token_secret"].(string)+"\"x"), "type", "static"))
	record(logical.UpdateOperation, "rotate/ci", second)
	record(logical.UpdateOperation, "rotate/ci", also(m.newToken(), "token_secret", second["token_secret"]))
	// The engine must not repeat a secret that a server repeats.
	m.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal, Message: "bad secret " + second["token_secret"].(string), Times: -1})
	record(logical.UpdateOperation, "rotate/ci", m.newToken())
	m.clock.advance(25 * time.Hour)
	m.tick()
	m.modal.ClearFaults()
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
	for _, event := range m.events.Events {
		seen.WriteString(event.Event.String() + "\n")
	}
	seen.WriteString(m.logs.String())

	require.Contains(t, seen.String(), first["token_id"], "the test must see token IDs")
	for _, secret := range append(m.modal.Secrets(), someSecret) {
		require.NotContains(t, seen.String(), secret)
		require.NotContains(t, seen.String(), strings.TrimPrefix(secret, "as-"))
	}
}
