// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// situations returns the states of the role ci that consumers may read, by name.
func situations() map[string]func(t *testing.T) *mount {
	all := map[string]func(t *testing.T) *mount{}
	for name, reach := range staticSituations() {
		all["static, "+name] = func(t *testing.T) *mount {
			t.Helper()
			m := newMount(t)
			reach(m)
			return m
		}
	}
	for name, reach := range managedSituations() {
		all["managed, "+name] = func(t *testing.T) *mount {
			t.Helper()
			m := newManagedMount(t)
			reach(m)
			return m
		}
	}
	return all
}

func staticSituations() map[string]func(m *mount) {
	expiring := func(m *mount) {
		m.write("roles/ci", also(m.newToken(modaltest.ExpiresAt(start.Add(20*time.Minute))), "type", "static"))
	}
	return map[string]func(m *mount){
		"fresh":          func(m *mount) { m.addRole("ci") },
		"with a profile": func(m *mount) { m.addRole("ci", map[string]any{"environment": "staging", "profile": "team.prod"}) },
		"unverified":     func(m *mount) { m.write("roles/ci", also(m.newToken(), "type", "static", "verify", false)) },
		"overdue":        func(m *mount) { m.addRole("ci"); m.clock.advance(100 * day) },
		"expiring":       func(m *mount) { expiring(m); m.clock.advance(19 * time.Minute) },
		"expired":        func(m *mount) { expiring(m); m.clock.advance(time.Hour) },
		"rotated":        func(m *mount) { m.addRole("ci"); m.write("rotate/ci", m.newToken()) },
		"rotated twice in a second": func(m *mount) {
			m.addRole("ci")
			m.write("rotate/ci", m.newToken())
			m.write("rotate/ci", m.newToken())
		},
		"after a restart while Modal is down": func(m *mount) { m.addRole("ci"); m.modal.SetOutage(true); m.restart() },
	}
}

func managedSituations() map[string]func(m *mount) {
	with := func(policy map[string]any) func(m *mount) { return func(m *mount) { m.addManaged("ci", policy) } }
	return map[string]func(m *mount){
		"fresh":             with(nil),
		"rotated on demand": with(map[string]any{"disable_automated_rotation": true}),
		"with expiry":       with(map[string]any{"token_ttl": "30m", "rotation_period": "20m", "grace_period": "5m"}),
		"at a firing of an uneven schedule": func(m *mount) {
			m.addManaged("ci", map[string]any{"rotation_schedule": "30 3 * * SAT,SUN", "rotation_window": "2h"})
			m.clock.advance(time.Date(2026, 3, 7, 3, 29, 59, 0, time.UTC).Sub(m.clock.now()))
		},
		"rotated by itself": func(m *mount) {
			m.addManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
			m.minutes(61)
			require.Equal(m.t, "2", m.deliver("creds/ci")["version"].(json.Number).String())
		},
		"about to rotate": func(m *mount) {
			m.addManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
			next, err := time.Parse(time.RFC3339, m.read("rotate/ci")["next_rotation"].(string))
			require.NoError(m.t, err)
			m.clock.advance(next.Sub(m.clock.now()) - time.Second)
		},
		"failing": func(m *mount) {
			m.addManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
			m.modal.SetOutage(true)
			m.minutes(61)
			require.NotZero(m.t, m.read("rotate/ci")["attempts"])
		},
	}
}

// reservedKeys are keys that change how some consumer reads the whole answer. The consumer unwraps the answer as
// KV version 2, takes it for a certificate or an AppRole secret ID, or refuses it.
var reservedKeys = []string{
	"data", "metadata", "_raw", "certificate", "expiration", "secret_id", "secret_id_ttl", "rotation_schedule",
}

// rotatingForms are the paths of the role ci that contain the rotation metadata.
var rotatingForms = []string{"creds/ci", "creds/ci/dotenv", "creds/ci/toml", "creds/ci/profile"}

func TestConsumers_AlwaysPollAgainAndNeverWithoutPause(t *testing.T) {
	t.Parallel()
	for name, reach := range situations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := reach(t)
			for _, path := range rotatingForms {
				data := m.deliver(path)

				state := syncOperator(t, data)
				require.True(t, state.refreshes(), "the operator would sync once and never again")
				require.GreaterOrEqual(t, state.ttl, int64(5))
				require.LessOrEqual(t, state.ttl, int64(5*60), "consumers would miss an unplanned rotation")
				wait, err := templateWait(data)
				require.NoError(t, err, "Vault Agent would panic, or ignore the refresh interval")
				require.Equal(t, time.Duration(state.ttl+1)*time.Second, wait)
			}
		})
	}
}

func TestConsumers_GetFlatStringsAndIntegersWithoutReservedKeys(t *testing.T) {
	t.Parallel()
	for name, reach := range situations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := reach(t)
			for _, path := range everyForm("ci") {
				data := m.deliver(path)
				for _, key := range reservedKeys {
					require.NotContains(t, data, key, path)
				}
				for key := range data {
					requireFlat(t, path, key, data)
				}
			}
		})
	}
}

// requireFlat checks a value for consumers that take all keys. A text is not empty and, except for file texts, has
// one line. A number has no fraction, and env contains no number.
func requireFlat(t *testing.T, path, key string, data delivery) {
	t.Helper()
	text, isText := data[key].(string)
	if !isText {
		_, err := integer(data, key)
		require.NoError(t, err, path)
		require.NotEqual(t, "creds/ci/env", path, "%s is a number, and env contains only text", key)
		return
	}
	require.NotEmpty(t, text, "%s of %s", key, path)
	if key != "toml" && key != "dotenv" {
		require.NotContains(t, text, "\n", "%s of %s", key, path)
	}
	if path == "creds/ci/env" {
		require.Regexp(t, `^MODAL_[A-Z_]+$`, key)
		require.NotRegexp(t, `[\s'"\\$#]`, text)
	}
}

func TestConsumers_RestartPodsAfterARotationAndNeverBetween(t *testing.T) {
	t.Parallel()
	for name, reach := range situations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := reach(t)
			first, env := m.syncOperators(), m.deliver("creds/ci/env")

			m.clock.advance(3 * time.Second)
			second := m.syncOperators()
			for path := range first {
				require.Equal(t, first[path].mac, second[path].mac, "a field besides ttl changed: pods would restart")
				require.Equal(t, first[path].lastRotation, second[path].lastRotation)
				require.Equal(t, first[path].period, second[path].period)
			}
			require.Equal(t, env, m.deliver("creds/ci/env"))

			m.modal.SetOutage(false)
			for range 2 { // the second rotation may fall into the same second
				rotateNow(m)
				rotated := m.syncOperators()
				for path := range first {
					require.NotEqual(t, second[path].mac, rotated[path].mac, "the rotation would restart no pod")
					require.Greater(t, rotated[path].lastRotation, second[path].lastRotation, "the operator compares whole seconds")
				}
				require.NotEqual(t, env, m.deliver("creds/ci/env"))
				second = rotated
			}
		})
	}
}

// rotateNow rotates the role ci of any type.
func rotateNow(m *mount) {
	m.t.Helper()
	if m.read("roles/ci")["type"] == model.TypeManaged {
		m.write("rotate/ci", nil)
		return
	}
	m.write("rotate/ci", also(m.newToken(), "force", true)) // an unverified token is no reference for the next owner
}

func TestConsumers_OfEnvPollAtTheirOwnInterval(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	_, err := templateWait(m.deliver("creds/ci/env"))
	require.ErrorIs(t, err, errNotRotating, "tools export every key of env, so env has no ttl")
}

func TestConsumers_OfADeletedRoleGetNotFoundNotAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.remove("roles/ci", nil)
	for _, path := range everyForm("ci") {
		require.NotEmpty(t, m.absent(path), "an empty answer would empty the Kubernetes Secret")
	}
}
