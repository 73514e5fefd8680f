// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-modal/internal/model"
)

// Publish sends an event.
func (m *Mount) Publish(ctx context.Context, event model.Event) { m.deps.Emit(ctx, event) }

// MountLogger says in each line which mount speaks: one process serves them all.
type MountLogger struct {
	hclog.Logger
	path string
}

// Log is the logger of this mount.
func (m *Mount) Log() hclog.Logger { return m.logger.Load() }

// SetPath notes where the engine is mounted, which only requests tell.
func (m *Mount) SetPath(mount string) {
	if known := m.logger.Load(); known != nil && (mount == "" || known.path == mount) {
		return
	}
	logger := m.deps.Logger.With("service_user_prefix", m.NamePrefix())
	if mount != "" {
		logger = logger.With("mount", mount)
	}
	m.logger.Store(&MountLogger{Logger: logger, path: mount})
}

// ClockWarning logs and returns, "" for clocks that agree, that the node's clock differs from Modal's, by a token that
// Modal has just created.
func (m *Mount) ClockWarning(role string, t model.Token) string {
	told := t.ClockWarning()
	if told != "" {
		m.Log().Warn("this node's clock differs from modal's", "role", role, "token_id", t.ID, "warning", told)
	}
	return told
}
