// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// situations returns the states of the role ci that consumers may read, by name.
func situations() map[string]func(t *testing.T) *mounttest.Mount {
	all := map[string]func(t *testing.T) *mounttest.Mount{}
	for name, reach := range staticSituations() {
		all["static, "+name] = func(t *testing.T) *mounttest.Mount {
			t.Helper()
			m := mounttest.New(t)
			reach(m)
			return m
		}
	}
	for name, reach := range managedSituations() {
		all["managed, "+name] = func(t *testing.T) *mounttest.Mount {
			t.Helper()
			m := mounttest.NewManaged(t)
			reach(m)
			return m
		}
	}
	return all
}

func staticSituations() map[string]func(m *mounttest.Mount) {
	expiring := func(m *mounttest.Mount) {
		m.Write("roles/ci", mounttest.Also(m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(20*time.Minute))), "type", "static"))
	}
	return map[string]func(m *mounttest.Mount){
		"fresh": func(m *mounttest.Mount) { m.AddRole("ci") },
		"with a profile": func(m *mounttest.Mount) {
			m.AddRole("ci", map[string]any{"environment": "staging", "profile": "team.prod"})
		},
		"unverified": func(m *mounttest.Mount) {
			m.Write("roles/ci", mounttest.Also(m.NewToken(), "type", "static", "verify", false))
		},
		"overdue":  func(m *mounttest.Mount) { m.AddRole("ci"); m.Clock.Advance(100 * mounttest.Day) },
		"expiring": func(m *mounttest.Mount) { expiring(m); m.Clock.Advance(19 * time.Minute) },
		"expired":  func(m *mounttest.Mount) { expiring(m); m.Clock.Advance(time.Hour) },
		"rotated":  func(m *mounttest.Mount) { m.AddRole("ci"); m.Write("rotate/ci", m.NewToken()) },
		"rotated twice in a second": func(m *mounttest.Mount) {
			m.AddRole("ci")
			m.Write("rotate/ci", m.NewToken())
			m.Write("rotate/ci", m.NewToken())
		},
		"after a restart while Modal is down": func(m *mounttest.Mount) { m.AddRole("ci"); m.Modal.SetOutage(true); m.Restart() },
	}
}

func managedSituations() map[string]func(m *mounttest.Mount) {
	with := func(policy map[string]any) func(m *mounttest.Mount) {
		return func(m *mounttest.Mount) { m.AddManaged("ci", policy) }
	}
	return map[string]func(m *mounttest.Mount){
		"fresh":             with(nil),
		"rotated on demand": with(map[string]any{"disable_automated_rotation": true}),
		"with expiry":       with(map[string]any{"token_ttl": "30m", "rotation_period": "20m", "grace_period": "5m"}),
		"at a firing of an uneven schedule": func(m *mounttest.Mount) {
			m.AddManaged("ci", map[string]any{"rotation_schedule": "30 3 * * SAT,SUN", "rotation_window": "2h"})
			m.Clock.Advance(time.Date(2026, 3, 7, 3, 29, 59, 0, time.UTC).Sub(m.Clock.Now()))
		},
		"rotated by itself": func(m *mounttest.Mount) {
			m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
			m.Minutes(61)
			require.Equal(m.T, "2", m.Deliver("creds/ci")["version"].(json.Number).String())
		},
		"about to rotate": func(m *mounttest.Mount) {
			m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
			next, err := time.Parse(time.RFC3339, m.Read("rotate/ci")["next_rotation"].(string))
			require.NoError(m.T, err)
			m.Clock.Advance(next.Sub(m.Clock.Now()) - time.Second)
		},
		"failing": func(m *mounttest.Mount) {
			m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
			m.Modal.SetOutage(true)
			m.Minutes(61)
			require.NotZero(m.T, m.Read("rotate/ci")["attempts"])
		},
	}
}

// reservedKeys are keys that change how some consumer reads the whole answer. The consumer unwraps the answer as
// KV version 2, takes it for a certificate or an AppRole secret ID, or refuses it.
var reservedKeys = []string{
	"data", "metadata", "_raw", "certificate", "expiration", "secret_id", "secret_id_ttl", "rotation_schedule",
}

func TestConsumers_AlwaysPollAgainAndNeverWithoutPause(t *testing.T) {
	t.Parallel()
	for name, reach := range situations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := reach(t)
			for _, path := range mounttest.RotatingForms {
				data := m.Deliver(path)

				state := mounttest.SyncOperator(t, data)
				require.True(t, state.Refreshes(), "the operator would sync once and never again")
				require.GreaterOrEqual(t, state.TTL, int64(5))
				require.LessOrEqual(t, state.TTL, int64(5*60), "consumers would miss an unplanned rotation")
				wait, err := templateWait(data)
				require.NoError(t, err, "Vault Agent would panic, or ignore the refresh interval")
				require.Equal(t, time.Duration(state.TTL+1)*time.Second, wait)
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
			for _, path := range mounttest.EveryForm("ci") {
				data := m.Deliver(path)
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
func requireFlat(t *testing.T, path, key string, data mounttest.Delivery) {
	t.Helper()
	text, isText := data[key].(string)
	if !isText {
		_, err := mounttest.Integer(data, key)
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
			first, env := m.SyncOperators(), m.Deliver("creds/ci/env")

			m.Clock.Advance(3 * time.Second)
			second := m.SyncOperators()
			for path := range first {
				require.Equal(t, first[path].Mac, second[path].Mac, "a field besides ttl changed: pods would restart")
				require.Equal(t, first[path].LastRotation, second[path].LastRotation)
				require.Equal(t, first[path].Period, second[path].Period)
			}
			require.Equal(t, env, m.Deliver("creds/ci/env"))

			m.Modal.SetOutage(false)
			for range 2 { // the second rotation may fall into the same second
				rotateNow(m)
				rotated := m.SyncOperators()
				for path := range first {
					require.NotEqual(t, second[path].Mac, rotated[path].Mac, "the rotation would restart no pod")
					require.Greater(t, rotated[path].LastRotation, second[path].LastRotation, "the operator compares whole seconds")
				}
				require.NotEqual(t, env, m.Deliver("creds/ci/env"))
				second = rotated
			}
		})
	}
}

// rotateNow rotates the role ci of any type.
func rotateNow(m *mounttest.Mount) {
	m.T.Helper()
	if m.Read("roles/ci")["type"] == model.TypeManaged {
		m.Write("rotate/ci", nil)
		return
	}
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true)) // an unverified token is no reference for the next owner
}

func TestConsumers_OfEnvPollAtTheirOwnInterval(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	_, err := templateWait(m.Deliver("creds/ci/env"))
	require.ErrorIs(t, err, errNotRotating, "tools export every key of env, so env has no ttl")
}

func TestConsumers_OfADeletedRoleGetNotFoundNotAnEmptyAnswer(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.Remove("roles/ci", nil)
	for _, path := range mounttest.EveryForm("ci") {
		require.NotEmpty(t, m.Absent(path), "an empty answer would empty the Kubernetes Secret")
	}
}
