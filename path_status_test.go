// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
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

func TestStatus_CountsEachStateOfARevocationUnderItsOwnName(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(r *model.Revocation, before, after time.Time){
		"pending": func(r *model.Revocation, _, after time.Time) { r.Reason, r.NotBefore = model.ReasonUnfinished, after },
		"leased": func(r *model.Revocation, _, after time.Time) {
			r.Reason, r.Leased, r.NotBefore = model.ReasonLease, true, after
		},
		"in_grace":    func(r *model.Revocation, _, after time.Time) { r.NotBefore = after },
		"in_use":      func(r *model.Revocation, before, _ time.Time) { r.NotBefore, r.WasInUse = before, true },
		"ending":      func(r *model.Revocation, before, _ time.Time) { r.NotBefore = before },
		"retrying":    func(r *model.Revocation, before, _ time.Time) { r.NotBefore, r.Attempts = before, 1 },
		"unconfirmed": func(r *model.Revocation, before, _ time.Time) { r.NotBefore, r.AcceptedAfterDeletion = before, true },
		"waiting":     func(r *model.Revocation, _, after time.Time) { r.NotBefore, r.Method = after, model.MethodManual },
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			m.SeedRevocations(t, 1)
			m.ChangeRevocation(m.List("revocations")[0], func(r *model.Revocation) {
				change(r, m.Clock.Now().Add(-time.Minute), m.Clock.Now().Add(time.Minute))
			})

			status := m.Read("status")

			for name := range status {
				state, isCount := strings.CutPrefix(name, "revocations_")
				if isCount {
					require.Equal(t, state == field, status[name] == int64(1), name)
				}
			}
		})
	}
}

func TestStatus_CountsAnExpiredTokenThatTheEngineCouldNotReplace(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"token_ttl": "1h", "rotation_period": "50m", "grace_period": "5m"})
	require.Equal(t, int64(0), m.Read("status")["roles_expiring"])
	m.Modal.SetOutage(true)

	m.Minutes(65)

	require.Equal(t, int64(1), m.Read("status")["roles_failing"])
	require.Equal(t, int64(1), m.Read("status")["roles_expiring"])
}

func TestStatus_KeepsTheTimeOfTheLastComparison(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Tick()
	compared := m.Read("status")["last_compared_at"]
	require.Equal(t, m.Clock.Now().Format(time.RFC3339), compared)
	m.Write("rotate/ci", nil)
	m.Modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.Unavailable, Times: -1})

	m.Minutes(65)

	require.Contains(t, m.Read("revocations/" + m.List("revocations")[0])["last_error"], "Modal does not list them")
	require.Equal(t, compared, m.Read("status")["last_compared_at"], "the later comparisons failed")
	m.Write("orphans", map[string]any{"accept": true})
	require.Equal(t, compared, m.Read("status")["last_compared_at"], "nothing was compared")
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
	m.Modal.DeleteToken(mounttest.TextIn(m.Read("config"), "token_id"))
	m.Clock.Advance(25 * time.Hour)
	m.Minutes(2)
	require.Equal(t, "rejected", m.Read("status")["admin_token_state"], "a limited token was rejected since")
}
