// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-modal/internal/model"
)

// Publish sends an event.
func (m *Mount) Publish(ctx context.Context, event model.Event) { m.deps.Emit(ctx, event) }

// PublishManual sends the event about a token that left its role or config if an operator has to delete it. old may be nil.
func (m *Mount) PublishManual(ctx context.Context, old *model.Revocation) {
	if old != nil && old.Method == model.MethodManual {
		m.Publish(ctx, old.Event(model.EventRevokeManual))
	}
}

// MountLogger is a logger that names the mount in each line. One plugin process serves several mounts.
type MountLogger struct {
	hclog.Logger
	// path is the mount's path. It is empty until a request names the path.
	path string
}

// Log returns the mount's logger.
func (m *Mount) Log() hclog.Logger { return m.logger.Load() }

// SetPath sets the path of the mount. Only requests name the path.
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

// ClockWarning logs and returns a warning if the node's clock differs from Modal's, as a token shows that Modal has
// just created. It returns "" if the clocks agree.
func (m *Mount) ClockWarning(role string, t model.Token) string {
	warning := t.ClockWarning()
	if warning != "" {
		m.Log().Warn("this node's clock differs from modal's", "role", role, "token_id", t.ID, "warning", warning)
	}
	return warning
}
