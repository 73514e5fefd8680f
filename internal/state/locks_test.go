// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestNameLocks_LockOneNameForOneCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		locks := NewNameLocks(func(string) {})
		release, err := locks.Lock(t.Context(), "ci")
		require.NoError(t, err)
		other, err := locks.Lock(t.Context(), "cd")
		require.NoError(t, err, "another name is not locked")
		other()
		got := false
		go func() {
			again, failed := locks.Lock(t.Context(), "ci")
			if failed == nil {
				got = true
				again()
			}
		}()
		synctest.Wait()
		require.False(t, got)
		release()
		synctest.Wait()
		require.True(t, got)
		require.Empty(t, locks.names, "an unused name uses no memory")
	})
}

func TestNameLocks_CanceledCallerLeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		locks := NewNameLocks(func(string) {})
		release, err := locks.Lock(t.Context(), "ci")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = locks.Lock(ctx, "ci")
		require.ErrorIs(t, err, context.Canceled)
		release()
		require.Empty(t, locks.names)
	})
}
