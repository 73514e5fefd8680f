// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// attempt is a request of a persona. allowed means that Vault's policies allow the request.
type attempt struct {
	args    []string
	allowed bool
}

func may(args ...string) attempt    { return attempt{args, true} }
func mayNot(args ...string) attempt { return attempt{args, false} }

// requireAttempt makes a request as a persona. An allowed request must succeed.
func (w *world) requireAttempt(t *testing.T, policy string, persona lab.CLI, try attempt) {
	t.Helper()
	result := w.run(t, persona, "", try.args...)
	what := fmt.Sprintf("%s: %s", policy, lab.Mask(strings.Join(try.args, " ")))
	if try.allowed {
		require.NoError(t, result.Err(), what)
		return
	}
	require.Equal(t, 2, result.Code, what)
	require.Contains(t, result.Stderr, "permission denied", what)
}
