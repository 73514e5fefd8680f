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
)

// delivery is the data of a read as a consumer decodes it from JSON, with numbers as json.Number.
type delivery map[string]any

// deliver reads a path as a consumer does.
func (m *mount) deliver(path string) delivery {
	m.t.Helper()
	resp := m.must(logical.ReadOperation, path, nil)
	require.NotNil(m.t, resp, path)
	require.Nil(m.t, resp.Secret, "a lease makes consumers ignore the rotation metadata")
	data := delivery{}
	decoder := json.NewDecoder(strings.NewReader(toJSON(m.t, resp.Data)))
	decoder.UseNumber()
	require.NoError(m.t, decoder.Decode(&data))
	return data
}

// vaultSecretsOperator is the state that Vault Secrets Operator keeps for a role between two syncs (1.4.1,
// controllers/vaultdynamicsecret_controller.go, allowStaticCreds).
type vaultSecretsOperator struct {
	lastRotation, period, ttl int64
	mac                       []byte
}

// operatorExcludes matches the keys whose change restarts no pod. The pattern is the operator's own: ^ binds only
// its first alternative and $ only its last.
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

// operatorValue encodes a value as the operator stores it: a text unchanged, everything else as JSON.
func operatorValue(t *testing.T, value any) []byte {
	t.Helper()
	if text, ok := value.(string); ok {
		return []byte(text)
	}
	return []byte(toJSON(t, value))
}

// refreshes reports whether the operator ever reads again.
func (s vaultSecretsOperator) refreshes() bool { return s.lastRotation > 0 && s.period >= 1 }

// integer returns a field that consumers require to be a JSON number without a fraction.
func integer(data delivery, key string) (int64, error) {
	number, ok := data[key].(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is %T", key, data[key])
	}
	return number.Int64()
}

// errNotRotating means that consul-template waits its own interval and ignores the ttl of the answer.
var errNotRotating = errors.New("not a rotating secret")

// templateWait returns how long consul-template sleeps after an answer without a lease (0.41.1,
// dependency/vault_common.go, leaseCheckWait). Vault Agent, envconsul and Nomad use the same code.
func templateWait(data delivery) (time.Duration, error) {
	if data["rotation_period"] == nil || data["ttl"] == nil {
		return 0, errNotRotating
	}
	ttl, err := integer(data, "ttl")
	return time.Duration(ttl+1) * time.Second, err
}

// syncOperators syncs one operator for each form that has the rotation metadata.
func (m *mount) syncOperators() map[string]vaultSecretsOperator {
	m.t.Helper()
	all := map[string]vaultSecretsOperator{}
	for _, path := range rotatingForms {
		all[path] = syncOperator(m.t, m.deliver(path))
	}
	return all
}
