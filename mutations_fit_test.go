// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A patch that fits no more plants nothing, and whoever changes a line hears of it here and not an hour later.
func TestEveryFaultThatIsPlantedOnPurposeFitsTheCode(t *testing.T) {
	t.Parallel()
	patches, err := filepath.Glob("testdata/mutations/*.patch")
	require.NoError(t, err)
	require.NotEmpty(t, patches)
	for _, patch := range patches {
		output, err := exec.CommandContext(t.Context(), "git", "apply", "--check", "--recount", patch).CombinedOutput()
		require.NoError(t, err, "%s does not fit any more, make it again: %s", patch, output)
	}
}
