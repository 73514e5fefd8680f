// SPDX-License-Identifier: MPL-2.0

package suggest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// allEdits counts the edits between two names in a simple, slow way.
func allEdits(a, b string) int {
	if a == "" || b == "" {
		return len(a) + len(b)
	}
	replaced := 1
	if a[0] == b[0] {
		replaced = 0
	}
	if replaced == 0 {
		return allEdits(a[1:], b[1:])
	}
	return 1 + min(allEdits(a[1:], b), allEdits(a, b[1:]), allEdits(a[1:], b[1:]))
}

func TestEdits_MatchesASimpleCountUpToItsLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[abc]{0,7}`)
		a, b, most := name.Draw(t, "a"), name.Draw(t, "b"), rapid.IntRange(0, 4).Draw(t, "most")
		require.Equal(t, min(allEdits(a, b), most+1), min(Edits(a, b, most), most+1))
	})
}

func TestNearest_ReturnsTheFirstOfTheNearestNames(t *testing.T) {
	t.Parallel()
	known := []string{"ci", "ci-2", "gpu", "training"}
	for wanted, want := range map[string]string{
		"cii": "ci", "ci": "ci", "ci-1": "ci-2", "cpu": "gpu", "traning": "training", "nothing": "", "": "", strings.Repeat("x", 500): "",
	} {
		require.Equal(t, want, Nearest(wanted, known, 1), wanted)
	}
	require.Equal(t, "", Nearest("ci", nil, 2))
	require.Equal(t, "", Nearest("ci", []string{strings.Repeat("x", 65)}, 100), "the name is too long for a role")
}

// BenchmarkNearest_OfTenThousandNames compares long names that differ at both ends, which takes the most
// time.
func BenchmarkNearest_OfTenThousandNames(b *testing.B) {
	known := make([]string, 10_000)
	for i := range known {
		known[i] = fmt.Sprintf("team-%05d.data-platform-training-and-batch-inference-%d", i, i%10)
	}
	for b.Loop() {
		Nearest("team-xxx.data-platform-training-and-batch-inference-x", known, 2)
	}
}
