// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/modaltest"
)

// delivery is the data of a read as a consumer has it: from JSON, numbers as json.Number.
type delivery map[string]any

// deliver reads a path the way a consumer does.
func (m *mount) deliver(path string) delivery {
	m.t.Helper()
	resp := m.must(logical.ReadOperation, path, nil)
	require.NotNil(m.t, resp, path)
	require.Nil(m.t, resp.Secret, "a lease makes consumers ignore the trio")
	data := delivery{}
	decoder := json.NewDecoder(strings.NewReader(toJSON(m.t, resp.Data)))
	decoder.UseNumber()
	require.NoError(m.t, decoder.Decode(&data))
	return data
}

// situations are the states in which consumers meet the role ci.
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
		"unproven":       func(m *mount) { m.write("roles/ci", also(m.newToken(), "type", "static", "verify", false)) },
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

// vaultSecretsOperator is what Vault Secrets Operator keeps of a role between two syncs (1.4.1,
// controllers/vaultdynamicsecret_controller.go, allowStaticCreds).
type vaultSecretsOperator struct {
	lastRotation, period, ttl int64
	mac                       []byte
}

// operatorExcludes are the keys whose change restarts no pod. The pattern is the operator's own, an
// alternation with two loose ends.
var operatorExcludes = regexp.MustCompile(`^ttl|rotation_schedule|rotation_period|last_vault_rotation|_raw$`)

func syncOperator(t *testing.T, data delivery) vaultSecretsOperator {
	t.Helper()
	var state vaultSecretsOperator
	rotated, isText := data["last_vault_rotation"].(string)
	require.True(t, isText, "anything but a string makes the operator panic")
	at, err := time.Parse(time.RFC3339Nano, rotated)
	require.NoError(t, err)
	state.lastRotation = at.Unix()
	state.period, err = integer(data, "rotation_period")
	require.NoError(t, err)
	state.ttl, err = integer(data, "ttl")
	require.NoError(t, err)
	stable := map[string][]byte{}
	for key, value := range data {
		if !operatorExcludes.MatchString(key) {
			stable[key] = operatorValue(t, value)
		}
	}
	mac := hmac.New(sha256.New, []byte("a key"))
	mac.Write([]byte(toJSON(t, stable)))
	state.mac = mac.Sum(nil)
	return state
}

// operatorValue is a value as the operator stores it: text as it is, all else as JSON.
func operatorValue(t *testing.T, value any) []byte {
	t.Helper()
	if text, ok := value.(string); ok {
		return []byte(text)
	}
	return []byte(toJSON(t, value))
}

// refreshes says whether the operator ever reads again.
func (s vaultSecretsOperator) refreshes() bool { return s.lastRotation > 0 && s.period >= 1 }

// integer is a field that consumers assert to be a JSON number without a fraction.
func integer(data delivery, key string) (int64, error) {
	number, ok := data[key].(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is %T", key, data[key])
	}
	return number.Int64()
}

// errNotRotating means that consul-template waits its own interval, not that of the answer.
var errNotRotating = errors.New("not a rotating secret")

// templateWait is how long consul-template, and with it Vault Agent, envconsul and Nomad, sleeps after
// an answer without a lease (0.41.1, dependency/vault_common.go, leaseCheckWait).
func templateWait(data delivery) (time.Duration, error) {
	if data["rotation_period"] == nil || data["ttl"] == nil {
		return 0, errNotRotating
	}
	ttl, err := integer(data, "ttl")
	return time.Duration(ttl+1) * time.Second, err
}

// reservedKeys change how some consumer reads the whole answer: unwrapped as KV version 2, taken for a
// certificate or an AppRole secret ID, or refused.
var reservedKeys = []string{
	"data", "metadata", "_raw", "certificate", "expiration", "secret_id", "secret_id_ttl", "rotation_schedule",
}

// rotatingForms are the paths by which rotation-aware consumers see a rotation of the role ci.
var rotatingForms = []string{"creds/ci", "creds/ci/dotenv", "creds/ci/toml", "creds/ci/profile"}

func TestConsumers_AreNeverToldToStopOrToPollWithoutPause(t *testing.T) {
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
				require.LessOrEqual(t, state.ttl, int64(5*60), "a rotation nobody planned would go unseen")
				wait, err := templateWait(data)
				require.NoError(t, err, "Vault Agent would panic, or ignore the refresh interval")
				require.Equal(t, time.Duration(state.ttl+1)*time.Second, wait)
			}
		})
	}
}

func TestConsumers_GetFlatTextAndNumbersWithoutReservedKeys(t *testing.T) {
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

// requireFlat asserts what consumers that take all keys rely on: text that is not empty, numbers
// without a fraction and none in env, and one line a value but for the texts of files.
func requireFlat(t *testing.T, path, key string, data delivery) {
	t.Helper()
	text, isText := data[key].(string)
	if !isText {
		_, err := integer(data, key)
		require.NoError(t, err, path)
		require.NotEqual(t, "creds/ci/env", path, "%s is a number where only text is", key)
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

func TestConsumers_RestartNothingBetweenTwoRotationsAndEverythingAfterOne(t *testing.T) {
	t.Parallel()
	for name, reach := range situations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := reach(t)
			first, env := m.syncOperators(), m.deliver("creds/ci/env")

			m.clock.advance(3 * time.Second)
			second := m.syncOperators()
			for path := range first {
				require.Equal(t, first[path].mac, second[path].mac, "a field besides ttl moved: pods would restart")
				require.Equal(t, first[path].lastRotation, second[path].lastRotation)
				require.Equal(t, first[path].period, second[path].period)
			}
			require.Equal(t, env, m.deliver("creds/ci/env"))

			m.modal.SetOutage(false)
			for range 2 { // The second one in the same second, where Modal takes no time.
				rotateNow(m)
				rotated := m.syncOperators()
				for path := range first {
					require.NotEqual(t, second[path].mac, rotated[path].mac, "a rotation restarts nothing")
					require.Greater(t, rotated[path].lastRotation, second[path].lastRotation, "the operator compares whole seconds")
				}
				require.NotEqual(t, env, m.deliver("creds/ci/env"))
				second = rotated
			}
		})
	}
}

// syncOperators is an operator for each form that has the trio.
func (m *mount) syncOperators() map[string]vaultSecretsOperator {
	m.t.Helper()
	all := map[string]vaultSecretsOperator{}
	for _, path := range rotatingForms {
		all[path] = syncOperator(m.t, m.deliver(path))
	}
	return all
}

// rotateNow rotates the role ci, whatever its type.
func rotateNow(m *mount) {
	m.t.Helper()
	if m.read("roles/ci")["type"] == engine.TypeManaged {
		m.write("rotate/ci", nil)
		return
	}
	m.write("rotate/ci", also(m.newToken(), "force", true)) // an unproven token pins nothing
}

func TestConsumers_OfTheEnvironmentPollAtTheirOwnInterval(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	_, err := templateWait(m.deliver("creds/ci/env"))
	require.ErrorIs(t, err, errNotRotating, "tools export every key of it, so it has no ttl")
}

func TestConsumers_OfADeletedRoleGetNotFoundAndNoEmptyAnswer(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.remove("roles/ci", nil)
	for _, path := range everyForm("ci") {
		require.NotEmpty(t, m.absent(path), "an empty answer would empty the Kubernetes Secret")
	}
}
