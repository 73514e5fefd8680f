// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// Delivery is the data of a read as a consumer decodes it from JSON, with numbers as json.Number.
type Delivery map[string]any

// Deliver reads a path as a consumer does.
func (m *Mount) Deliver(path string) Delivery {
	m.T.Helper()
	resp := m.Must(logical.ReadOperation, path, nil)
	require.NotNil(m.T, resp, path)
	require.Nil(m.T, resp.Secret, "a lease makes consumers ignore the rotation metadata")
	data := Delivery{}
	decoder := json.NewDecoder(strings.NewReader(ToJSON(m.T, resp.Data)))
	decoder.UseNumber()
	require.NoError(m.T, decoder.Decode(&data))
	return data
}

// VaultSecretsOperator is the state that Vault Secrets Operator keeps for a role between two syncs (1.4.1,
// controllers/vaultdynamicsecret_controller.go, allowStaticCreds).
type VaultSecretsOperator struct {
	LastRotation, Period, TTL int64
	Mac                       []byte
}

// OperatorExcludes matches the keys whose change restarts no pod. The pattern is the operator's own: ^ binds only
// its first alternative and $ only its last.
var OperatorExcludes = regexp.MustCompile(`^ttl|rotation_schedule|rotation_period|last_vault_rotation|_raw$`)

// SyncOperator reads a secret as the Vault Secrets Operator does.
func SyncOperator(t *testing.T, data Delivery) VaultSecretsOperator {
	t.Helper()
	var state VaultSecretsOperator
	rotated, isText := data["last_vault_rotation"].(string)
	require.True(t, isText, "anything but a string makes the operator panic")
	at, err := time.Parse(time.RFC3339Nano, rotated)
	require.NoError(t, err)
	state.LastRotation = at.Unix()
	state.Period, err = Integer(data, "rotation_period")
	require.NoError(t, err)
	state.TTL, err = Integer(data, "ttl")
	require.NoError(t, err)
	stable := map[string][]byte{}
	for key, value := range data {
		if !OperatorExcludes.MatchString(key) {
			stable[key] = OperatorValue(t, value)
		}
	}
	mac := hmac.New(sha256.New, []byte("a key"))
	mac.Write([]byte(ToJSON(t, stable)))
	state.Mac = mac.Sum(nil)
	return state
}

// OperatorValue encodes a value as the operator stores it: a text unchanged, everything else as JSON.
func OperatorValue(t *testing.T, value any) []byte {
	t.Helper()
	if text, ok := value.(string); ok {
		return []byte(text)
	}
	return []byte(ToJSON(t, value))
}

// Refreshes reports whether the operator ever reads again.
func (s VaultSecretsOperator) Refreshes() bool { return s.LastRotation > 0 && s.Period >= 1 }

// Integer returns a field that consumers require to be a JSON number without a fraction.
func Integer(data Delivery, key string) (int64, error) {
	number, ok := data[key].(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is %T", key, data[key])
	}
	return number.Int64()
}

// SyncOperators syncs one operator for each form that has the rotation metadata.
func (m *Mount) SyncOperators() map[string]VaultSecretsOperator {
	m.T.Helper()
	all := map[string]VaultSecretsOperator{}
	for _, path := range RotatingForms {
		all[path] = SyncOperator(m.T, m.Deliver(path))
	}
	return all
}

// RotatingForms are the paths of the role ci that contain the rotation metadata.
var RotatingForms = []string{"creds/ci", "creds/ci/dotenv", "creds/ci/toml", "creds/ci/profile"}

// EveryForm returns the paths that return a role's token.
func EveryForm(role string) []string {
	return []string{"creds/" + role, "creds/" + role + "/env", "creds/" + role + "/dotenv", "creds/" + role + "/toml", "creds/" + role + "/profile"}
}
