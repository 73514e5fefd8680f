// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/state"
)

// newBench returns a mount for benchmarks. The mount discards its log.
func newBench(b *testing.B) *mount {
	b.Helper()
	clock := &fakeClock{at: start}
	m := &mount{
		clock: clock, modal: modaltest.Start(b, modaltest.WithClock(clock.now)),
		storage: newCutStorage(), system: &logical.StaticSystemView{}, events: logical.NewMockEventSender(),
	}
	m.workspace = m.modal.AddWorkspace("acme")
	m.member = m.workspace.AddMember("alice")
	m.remount(b)
	m.send(b, logical.CreateOperation, "config", also(m.newToken(), "server_url", m.modal.URL()))
	return m
}

func (m *mount) remount(b *testing.B) {
	b.Helper()
	var err error
	m.Backend, err = New(b.Context(), &logical.BackendConfig{
		System: m.system, StorageView: m.storage, EventsSender: m.events, BackendUUID: "2f9f1a7c-0000-4000-8000-000000000001",
	}, state.Deps{Now: m.clock.now, Wait: m.clock.sleep, Connect: connectWithoutJitter})
	require.NoError(b, err)
}

func (m *mount) send(b *testing.B, op logical.Operation, path string, data map[string]any) *logical.Response {
	b.Helper()
	resp, err := m.HandleRequest(b.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: m.storage, MountPoint: "modal/"})
	if err != nil || resp.IsError() {
		b.Fatalf("%s %s: %v %s", op, path, err, errorText(resp))
	}
	return resp
}

func BenchmarkRead(b *testing.B) {
	m := newBench(b)
	m.send(b, logical.CreateOperation, "roles/ci", also(m.newToken(), "type", "static"))
	for _, path := range everyForm("ci") {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.send(b, logical.ReadOperation, path, nil)
			}
		})
	}
}

// BenchmarkTick measures one tick for a number of managed roles and as many revocations. It measures the first
// tick after a start, and a tick in which no role and no revocation is due.
func BenchmarkTick(b *testing.B) {
	for _, roles := range []int{100, 1000, 10000} {
		m := newBench(b)
		m.seedManaged(b, roles, 0)
		m.seedRevocations(b, roles)
		b.Run(fmt.Sprintf("first/roles=%d", roles), func(b *testing.B) {
			for b.Loop() {
				m.remount(b)
				m.send(b, logical.RollbackOperation, "", map[string]any{})
			}
		})
		b.Run(fmt.Sprintf("idle/roles=%d", roles), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.send(b, logical.RollbackOperation, "", map[string]any{})
			}
		})
	}
}

// BenchmarkList lists all roles with the details of each.
func BenchmarkList(b *testing.B) {
	for _, roles := range []int{100, 1000, 10000} {
		m := newBench(b)
		m.seedManaged(b, roles, 0)
		b.Run(fmt.Sprintf("roles=%d", roles), func(b *testing.B) {
			for b.Loop() {
				m.send(b, logical.ListOperation, "roles/", nil)
			}
		})
	}
}

// BenchmarkReadWhileRotating reads one of 2,000 managed roles, first while no role rotates and then while 500
// others rotate. Each call to Modal takes 50 ms. The benchmark reports p99 of both and their ratio.
func BenchmarkReadWhileRotating(b *testing.B) {
	for b.Loop() {
		m := newBench(b)
		m.seedManaged(b, 2000, 0)
		m.send(b, logical.RollbackOperation, "", map[string]any{})
		idle := m.latencies(b, func(reads int) bool { return reads == 3000 })
		m.seedManaged(b, 500, 500)
		m.remount(b)
		m.modal.Inject("*", modaltest.Fault{Delay: 50 * time.Millisecond, Times: -1})
		var took atomic.Int64
		go func() {
			began := time.Now()
			m.send(b, logical.RollbackOperation, "", map[string]any{})
			took.Store(int64(time.Since(began)))
		}()
		busy := m.latencies(b, func(int) bool { return took.Load() != 0 })
		require.Len(b, m.modal.Calls("ServiceUserCreate"), 500)
		b.ReportMetric(float64(p99(idle).Microseconds()), "idle-p99-µs")
		b.ReportMetric(float64(p99(busy).Microseconds()), "busy-p99-µs")
		b.ReportMetric(float64(p99(busy))/float64(p99(idle)), "busy/idle-p99")
		b.ReportMetric(time.Duration(took.Load()).Seconds(), "s/500-rotations")
		b.ReportMetric(float64(len(busy)), "reads")
	}
}

// latencies reads about a thousand times a second until stop returns true, and returns how long each read took.
func (m *mount) latencies(b *testing.B, stop func(reads int) bool) []time.Duration {
	b.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	var all []time.Duration
	for !stop(len(all)) {
		<-ticker.C
		began := time.Now()
		m.send(b, logical.ReadOperation, "creds/role-01999", nil)
		all = append(all, time.Since(began))
	}
	return all
}

func p99(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)*99/100]
}
