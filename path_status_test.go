// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
	"vault-plugin-secrets-modal/internal/version"
)

func TestStatus_OfAnEmptyMountIsAllZeros(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Remove("config", nil)
	for field, value := range m.Read("status") {
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
	m := mounttest.NewManaged(t)
	m.AddManaged("ok")
	m.AddManaged("disabled", map[string]any{"disable_automated_rotation": true})
	m.AddManaged("failing", map[string]any{"rotation_period": "1h", "grace_period": "1h"})
	m.AddRole("overdue", map[string]any{"rotation_period": "1h", "revoke_previous": false})
	m.Write("rotate/ok", nil)
	m.Write("rotate/overdue", m.NewToken())
	m.Modal.SetOutage(true)
	m.Minutes(70)

	status := m.Read("status")

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
	m := mounttest.NewManaged(t)
	m.AddManaged("rotated", map[string]any{"token_ttl": "20d"})
	m.AddManaged("disabled", map[string]any{"token_ttl": "20d", "disable_automated_rotation": true})
	m.AddManaged("lasting", map[string]any{"disable_automated_rotation": true})
	for name, life := range map[string]time.Duration{"soon": 30 * mounttest.Day, "later": 31 * mounttest.Day} {
		m.Write("roles/"+name, mounttest.Also(m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(life))), "type", "static"))
	}
	status := m.Read("status")
	require.Equal(t, int64(2), status["roles_expiring"], "the roles disabled and soon")
	require.Equal(t, int64(3), status["roles_ok"], "each role also counts in its state")
	m.Clock.Advance(mounttest.Day)
	require.Equal(t, int64(3), m.Read("status")["roles_expiring"])
}

func TestStatus_ShowsTheStateOfTheAdminToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	require.Equal(t, "none", m.Read("status")["admin_token_state"])
	m.Write("config", mounttest.Also(m.NewToken(), "verify", false))
	require.Equal(t, "unverified", m.Read("status")["admin_token_state"])
	m.Write("config", m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(time.Hour))))
	require.Equal(t, "ok", m.Read("status")["admin_token_state"])
	require.Equal(t, "2026-03-01T13:00:00Z", m.Read("status")["admin_token_expires_at"])
	m.Clock.Advance(2 * time.Hour)
	require.Equal(t, "expired", m.Read("status")["admin_token_state"])
	m.Write("config", mounttest.TokenData(m.Workspace.AddServiceUser("robot")))
	require.Equal(t, "limited", m.Read("status")["admin_token_state"])
}
