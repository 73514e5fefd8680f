// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// recorder is a testing.TB that records failures instead of failing.
type recorder struct {
	testing.TB
	cleanups []func()
	failures []string
}

func (*recorder) Helper()            {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, a ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, a...))
}

func TestFailOnOrphans_FailsForUntrackedServiceUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddServiceUser("seeded")
	_, id := w.mint(t, "gone")
	w.mint(t, "current")
	w.mint(t, "lost")
	require.NoError(t, w.remove(t, id))

	for name, test := range map[string]struct {
		tracked []string
		orphans []string
	}{
		"one":  {[]string{"current"}, []string{"lost"}},
		"all":  {nil, []string{"current", "lost"}},
		"none": {[]string{"lost", "never-made", "current"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.orphans, w.server.Orphans(test.tracked))
			r := &recorder{TB: t}
			var tracked []string
			w.server.FailOnOrphans(r, func() []string { return tracked })
			tracked = test.tracked // the names at the end of the test count
			require.Len(t, r.cleanups, 1)
			require.Empty(t, r.failures)
			r.cleanups[0]()
			if test.orphans == nil {
				require.Empty(t, r.failures)
				return
			}
			require.Equal(t, []string{fmt.Sprintf("these service users still exist, and the test does not track them: %q", test.orphans)}, r.failures)
		})
	}
}

func TestOrphans_IncludeExpiredServiceUsers(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	token, id := w.mint(t, "ci")
	w.server.SetExpiry(token.ID, c.Now())
	require.Equal(t, []string{"ci"}, w.server.Orphans(nil))
	w.server.KeepDeletedFor(time.Hour)
	require.NoError(t, w.remove(t, id))
	require.Empty(t, w.server.Orphans(nil), "deleted, even while its token is still accepted")
}
