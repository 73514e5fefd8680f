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

func TestDidYouMean_SuggestsTheFirstOfTheNearestNames(t *testing.T) {
	t.Parallel()
	known := []string{"ci", "ci-2", "gpu", "training"}
	for wanted, want := range map[string]string{
		"cii": "ci", "ci": "ci", "ci-1": "ci-2", "cpu": "gpu", "traning": "training", "gniniart": "training",
	} {
		require.Equal(t, "did you mean "+want+"?", DidYouMean(wanted, known, Spelling), wanted)
	}
	for _, wanted := range []string{"nothing", "", strings.Repeat("x", 500)} {
		require.Empty(t, DidYouMean(wanted, known, SpellingOrPart), wanted)
	}
	require.Empty(t, DidYouMean("ci", nil, SpellingOrPart))
	require.Empty(t, DidYouMean("c", []string{strings.Repeat("c", 65)}, Spelling), "the name is too long for a role")
}

func TestDidYouMean_SuggestsByPartsOnlyNamesThatTheUserMayList(t *testing.T) {
	t.Parallel()
	known := []string{"grace_period", "refresh_interval", "rotation_period", "token_period", "ttl", "validity_period"}
	for wanted, want := range map[string]string{
		"grace": "did you mean grace_period?", "period": "did you mean grace_period or rotation_period or token_period?",
		"my-token-period": "did you mean token_period?", "GRACE-PERIOD": "did you mean grace_period?", "ra": "", "my_ttl_x": "",
	} {
		require.Equal(t, want, DidYouMean(wanted, known, SpellingOrPart), wanted)
		require.Empty(t, DidYouMean(wanted, known, Spelling), wanted)
	}
}

// BenchmarkDidYouMean_OfTenThousandNames compares long names that differ at both ends, which takes the most
// time.
func BenchmarkDidYouMean_OfTenThousandNames(b *testing.B) {
	known := make([]string, 10_000)
	for i := range known {
		known[i] = fmt.Sprintf("team-%05d.data-platform-training-and-batch-inference-%d", i, i%10)
	}
	for b.Loop() {
		DidYouMean("team-xxx.data-platform-training-and-batch-inference-x", known, Spelling)
	}
}
