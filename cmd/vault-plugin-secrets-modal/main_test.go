// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/version"
)

func TestVersionFlag_PrintsOneLineAndServesNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run([]string{"--version"}, &out))
	require.Equal(t, "vault-plugin-secrets-modal "+version.Version+"\n", out.String())
}

func TestRun_RefusesUnknownFlagsByName(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.ErrorContains(t, run([]string{"--no-such-flag"}, &out), "no-such-flag")
	require.Empty(t, out.String())
}
