// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// newBench returns a mount for benchmarks. The mount discards its log.
func newBench(b *testing.B) *mounttest.Mount {
	b.Helper()
	clock := &mounttest.FakeClock{At: mounttest.StartTime}
	m := &mounttest.Mount{
		Clock: clock, Modal: modaltest.Start(b, modaltest.WithClock(clock.Now)),
		Storage: mounttest.NewCutStorage(), System: &logical.StaticSystemView{}, Events: logical.NewMockEventSender(),
	}
	m.Workspace = m.Modal.AddWorkspace("acme")
	m.Member = m.Workspace.AddMember("alice")
	m.Remount(b)
	m.Send(b, logical.CreateOperation, "config", mounttest.Also(m.NewToken(), "server_url", m.Modal.URL()))
	return m
}

func BenchmarkRead(b *testing.B) {
	m := newBench(b)
	m.Send(b, logical.CreateOperation, "roles/ci", mounttest.Also(m.NewToken(), "type", "static"))
	for _, path := range mounttest.EveryForm("ci") {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Send(b, logical.ReadOperation, path, nil)
			}
		})
	}
}

// BenchmarkTick measures one tick for a number of managed roles and as many revocations. It measures the first
// tick after a start, and a tick in which no role and no revocation is due.
func BenchmarkTick(b *testing.B) {
	for _, roles := range []int{100, 1000, 10000} {
		m := newBench(b)
		m.SeedManaged(b, roles, 0)
		m.SeedRevocations(b, roles)
		b.Run(fmt.Sprintf("first/roles=%d", roles), func(b *testing.B) {
			for b.Loop() {
				m.Remount(b)
				m.Send(b, logical.RollbackOperation, "", map[string]any{})
			}
		})
		b.Run(fmt.Sprintf("idle/roles=%d", roles), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Send(b, logical.RollbackOperation, "", map[string]any{})
			}
		})
	}
}

// BenchmarkList lists all roles with the details of each.
func BenchmarkList(b *testing.B) {
	for _, roles := range []int{100, 1000, 10000} {
		m := newBench(b)
		m.SeedManaged(b, roles, 0)
		b.Run(fmt.Sprintf("roles=%d", roles), func(b *testing.B) {
			for b.Loop() {
				m.Send(b, logical.ListOperation, "roles/", nil)
			}
		})
	}
}

// BenchmarkReadWhileRotating reads one of 2,000 managed roles, first while no role rotates and then while 400
// others rotate. Each call to Modal takes 50 ms. The benchmark reports p99 of both and their ratio.
func BenchmarkReadWhileRotating(b *testing.B) {
	for b.Loop() {
		m := newBench(b)
		m.SeedManaged(b, 2000, 0)
		m.Send(b, logical.RollbackOperation, "", map[string]any{})
		idle := m.Latencies(b, func(reads int) bool { return reads == 3000 })
		m.SeedManaged(b, 400, 400)
		m.Remount(b)
		m.Modal.Inject("*", modaltest.Fault{Delay: 50 * time.Millisecond, Times: -1})
		var took atomic.Int64
		go func() {
			began := time.Now()
			m.Send(b, logical.RollbackOperation, "", map[string]any{})
			took.Store(int64(time.Since(began)))
		}()
		busy := m.Latencies(b, func(int) bool { return took.Load() != 0 })
		require.Len(b, m.Modal.Calls("ServiceUserCreate"), 400)
		b.ReportMetric(float64(p99(idle).Microseconds()), "idle-p99-µs")
		b.ReportMetric(float64(p99(busy).Microseconds()), "busy-p99-µs")
		b.ReportMetric(float64(p99(busy))/float64(p99(idle)), "busy/idle-p99")
		b.ReportMetric(time.Duration(took.Load()).Seconds(), "s/400-rotations")
		b.ReportMetric(float64(len(busy)), "reads")
	}
}

func p99(all []time.Duration) time.Duration { return percentile(all, 99) }

func percentile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)*percent/100]
}

// manyRoles is the number of managed roles of BenchmarkSize.
const manyRoles = 100_000

// BenchmarkSize measures a mount with 100,000 managed roles. Each call of storage takes 150 µs, as over Vault's plugin
// protocol, and each call to Modal 50 ms. Run it once: -bench=Size -benchtime=1x. The metrics are:
//
//   - start: a new process, before its first request
//   - first-tick, idle-tick: the worker's first tick, and a tick without due work
//   - page, list: a page of 100 roles, and all roles, after a restart
//   - warm-list: all roles again
//   - MiB: memory of the engine after the first tick, without the storage of the benchmark
//   - rotations/tick: how many overdue roles the first tick rotates while every role is overdue
//   - rotations/next-tick: how many the next tick rotates, which need not read the roles
//   - read-p50, read-p99: reads of creds meanwhile, about a thousand a second
func BenchmarkSize(b *testing.B) {
	for b.Loop() {
		m := newBench(b)
		m.SeedManaged(b, manyRoles, 0)
		m.Storage.Delay = 150 * time.Microsecond
		before := heap()
		seconds(b, "start", func() { m.Remount(b) })
		seconds(b, "page", func() { require.Len(b, listed(b, m, map[string]any{"limit": 100}), 100) })
		m.Remount(b)
		seconds(b, "first-tick", func() { tick(b, m) })
		b.ReportMetric(float64(heap()-before)/(1<<20), "MiB")
		seconds(b, "idle-tick", func() { tick(b, m) })
		m.Remount(b)
		seconds(b, "list", func() { require.Len(b, listed(b, m, nil), manyRoles) })
		seconds(b, "warm-list", func() { require.Len(b, listed(b, m, nil), manyRoles) })

		m.Storage.Delay = 0
		m.SeedManaged(b, manyRoles, manyRoles)
		m.Storage.Delay = 150 * time.Microsecond
		m.Remount(b)
		m.Modal.Inject("*", modaltest.Fault{Delay: 50 * time.Millisecond, Times: -1})
		done := make(chan time.Duration, 1)
		go func() {
			began := time.Now()
			tick(b, m)
			done <- time.Since(began)
		}()
		var took time.Duration
		reads := m.Latencies(b, func(int) bool {
			select {
			case took = <-done:
				return true
			default:
				return false
			}
		})
		b.ReportMetric(took.Seconds(), "busy-tick-s")
		rotations := len(m.Modal.Calls("ServiceUserCreate"))
		b.ReportMetric(float64(rotations), "rotations/tick")
		m.Clock.Advance(time.Minute)
		tick(b, m)
		b.ReportMetric(float64(len(m.Modal.Calls("ServiceUserCreate"))-rotations), "rotations/next-tick")
		b.ReportMetric(float64(percentile(reads, 50).Microseconds()), "read-p50-µs")
		b.ReportMetric(float64(percentile(reads, 99).Microseconds()), "read-p99-µs")
	}
}

func seconds(b *testing.B, what string, do func()) {
	b.Helper()
	began := time.Now()
	do()
	b.ReportMetric(time.Since(began).Seconds(), what+"-s")
}

func tick(b *testing.B, m *mounttest.Mount) {
	b.Helper()
	m.Send(b, logical.RollbackOperation, "", map[string]any{})
}

func listed(b *testing.B, m *mounttest.Mount, page map[string]any) []string {
	b.Helper()
	keys, _ := m.Send(b, logical.ListOperation, "roles/", page).Data["keys"].([]string)
	return keys
}

// heap returns how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
