// SPDX-License-Identifier: MPL-2.0

package main

import (
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGarbage_MayGather(t *testing.T) {
	t.Parallel()
	room := roomForGarbage(func(string) string { return "" })
	require.Len(t, room, garbageRoom)
	runtime.GC()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	runtime.KeepAlive(room)
	require.Greater(t, goal[0].Value.Uint64(), uint64(2*garbageRoom))
}

func TestGarbage_OperatorsSettingWins(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		require.Empty(t, roomForGarbage(func(asked string) string {
			if asked == name {
				return "100"
			}
			return ""
		}), name)
	}
}
