// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// counting is storage that counts its calls.
type counting struct {
	store.Storage

	reads, writes atomic.Int64
}

func (c *counting) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	c.reads.Add(1)
	return c.Storage.Get(ctx, key)
}

func (c *counting) List(ctx context.Context, prefix string) ([]string, error) {
	c.reads.Add(1)
	return c.Storage.List(ctx, prefix)
}

func (c *counting) Put(ctx context.Context, entry *logical.StorageEntry) error {
	c.writes.Add(1)
	return c.Storage.Put(ctx, entry)
}

func (c *counting) Delete(ctx context.Context, key string) error {
	c.writes.Add(1)
	return c.Storage.Delete(ctx, key)
}

func TestVerify_AfterAClockFarAheadEachTokenIsVerifiedOncePerInterval(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const roles = 60
	h.ahead.Store(int64(30 * model.Day))
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
	for i := range roles {
		ask := managedRole(fmt.Sprintf("role-%02d", i), map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
		if i%3 == 0 {
			ask = staticRole(ask.Name, h.member.NewToken())
		}
		h.write(ask)
		if i%2 == 0 {
			h.verify(ask.Name)
		}
	}
	h.minutes(2)
	h.ahead.Store(0)
	disk := &counting{Storage: h.storage}
	h.restartOver(disk)
	h.minutes(10) // each token is verified once, and the times of revocations are repaired
	calls, writes := h.modal.CallCount(), disk.writes.Load()

	h.minutes(12 * 60)

	require.LessOrEqual(t, h.modal.CallCount()-calls, 6, "within half an interval the engine may only check the replaced admin token")
	require.LessOrEqual(t, disk.writes.Load()-writes, int64(6))
	calls, writes = h.modal.CallCount(), disk.writes.Load()
	h.minutes(24 * 60)
	require.LessOrEqual(t, h.modal.CallCount()-calls, 4*roles, "once per interval: two calls for a managed role, and the admin token's")
	require.LessOrEqual(t, disk.writes.Load()-writes, int64(2*roles))
	require.Equal(t, 0, h.rejected())
}

// rejected counts the roles whose token Modal rejects.
func (h *harness) rejected() int {
	h.t.Helper()
	status, err := h.engine.Statuses.Read(h.t.Context())
	require.NoError(h.t, err)
	return status.Roles[model.StateRejected]
}

func TestVerify_AfterAClockFarAheadTheAdminIsVerifiedOncePerInterval(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.ahead.Store(int64(30 * model.Day))
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
	h.ahead.Store(0)
	h.restart()
	checked := func() time.Time {
		cfg, err := h.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		return cfg.AdminChecked
	}
	h.minutes(3)
	require.WithinDuration(t, h.clock(), checked(), 3*time.Minute, "at once")
	first := checked()
	h.minutes(12 * 60)
	require.Equal(t, first, checked())
	h.minutes(12 * 60)
	require.WithinDuration(t, first.Add(model.DefaultVerification), checked(), 5*time.Minute)
}
