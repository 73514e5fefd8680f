// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/version"
)

func TestStatus_OfAnEmptyMountIsAllZeros(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.remove("config", nil)
	for field, value := range m.read("status") {
		switch field {
		case "paused", "out_of_sync":
			require.Equal(t, false, value, field)
		case "admin_token_state":
			require.Equal(t, "none", value)
		case "version":
			require.Equal(t, version.Version, value)
		default:
			require.Equal(t, int64(0), value, field)
		}
	}
}

func TestStatus_CountsEachRoleAndRevocationOnce(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ok")
	m.addManaged("disabled", map[string]any{"disable_automated_rotation": true})
	m.addManaged("failing", map[string]any{"rotation_period": "1h", "grace_period": "1h"})
	m.addRole("overdue", map[string]any{"rotation_period": "1h", "revoke_previous": false})
	m.write("rotate/ok", nil)
	m.write("rotate/overdue", m.newToken())
	m.modal.SetOutage(true)
	m.minutes(70)

	status := m.read("status")

	require.Equal(t, int64(4), status["roles"])
	for _, state := range []string{"ok", "disabled", "failing", "overdue"} {
		require.Equal(t, int64(1), status["roles_"+state], state)
	}
	require.Equal(t, int64(0), status["roles_rejected"])
	var counted int64
	for field, value := range status {
		if count, isCount := value.(int64); isCount && strings.HasPrefix(field, "revocations_") && field != "revocations_unreadable" {
			counted += count
		}
	}
	require.Equal(t, status["revocations"], counted)
	require.Equal(t, int64(1), status["revocations_in_grace"])
	require.Equal(t, int64(1), status["revocations_waiting"])
}

func TestStatus_CountsTokensThatExpireBeforeTheEngineRotatesThem(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("rotated", map[string]any{"token_ttl": "20d"})
	m.addManaged("disabled", map[string]any{"token_ttl": "20d", "disable_automated_rotation": true})
	m.addManaged("lasting", map[string]any{"disable_automated_rotation": true})
	for name, life := range map[string]time.Duration{"soon": 30 * day, "later": 31 * day} {
		m.write("roles/"+name, also(m.newToken(modaltest.ExpiresAt(start.Add(life))), "type", "static"))
	}
	status := m.read("status")
	require.Equal(t, int64(2), status["roles_expiring"], "the roles disabled and soon")
	require.Equal(t, int64(3), status["roles_ok"], "each role also counts in its state")
	m.clock.advance(day)
	require.Equal(t, int64(3), m.read("status")["roles_expiring"])
}

func TestStatus_ShowsTheStateOfTheAdminToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	require.Equal(t, "none", m.read("status")["admin_token_state"])
	m.write("config", also(m.newToken(), "verify", false))
	require.Equal(t, "unverified", m.read("status")["admin_token_state"])
	m.write("config", m.newToken(modaltest.ExpiresAt(start.Add(time.Hour))))
	require.Equal(t, "ok", m.read("status")["admin_token_state"])
	require.Equal(t, "2026-03-01T13:00:00Z", m.read("status")["admin_token_expires_at"])
	m.clock.advance(2 * time.Hour)
	require.Equal(t, "expired", m.read("status")["admin_token_state"])
	m.write("config", tokenData(m.workspace.AddServiceUser("robot")))
	require.Equal(t, "limited", m.read("status")["admin_token_state"])
}
