// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"errors"
	"time"

	"vault-plugin-secrets-modal/internal/mounttest"
)

// errNotRotating means that consul-template waits its own interval and ignores the ttl of the answer.
var errNotRotating = errors.New("not a rotating secret")

// templateWait returns how long consul-template sleeps after an answer without a lease (0.41.1,
// dependency/vault_common.go, leaseCheckWait). Vault Agent, envconsul and Nomad use the same code.
func templateWait(data mounttest.Delivery) (time.Duration, error) {
	if data["rotation_period"] == nil || data["ttl"] == nil {
		return 0, errNotRotating
	}
	ttl, err := mounttest.Integer(data, "ttl")
	return time.Duration(ttl+1) * time.Second, err
}
