// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file run the engine with wrong clocks and with tokens that expire.

func TestRevocation_DatedByAFastClockGetsAFullGracePeriodFromNow(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "4h"})
	m.Write("rotate/ci", nil)
	m.ChangeRevocation(old, func(r *model.Revocation) {
		for _, moment := range []*time.Time{&r.Since, &r.NotBefore, &r.NextAttempt} {
			*moment = moment.Add(1000 * mounttest.Day)
		}
	})
	m.Minutes(4*60 - 5)
	require.True(t, m.Knows(old), "consumers were promised four hours")
	m.Minutes(10)
	require.False(t, m.Knows(old))
	require.False(t, m.InQueue(old))
}

func TestRevocation_WithANextAttemptFarAheadIsTriedNow(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	m.ChangeRevocation(old, func(r *model.Revocation) {
		r.Attempts, r.LastAttempt, r.NextAttempt = 1, m.Clock.Now().Add(1000*mounttest.Day), m.Clock.Now().Add(1000*mounttest.Day)
	})
	m.Minutes(2)
	require.False(t, m.InQueue(old))
}

func TestRevocation_RejectionSeenByAFastClockCountsFromTheRepair(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	id := m.AddRole("personal", map[string]any{"grace_period": 0})
	m.Remove("roles/personal", nil)
	m.Modal.DeleteToken(id)
	m.Clock.Advance(40 * mounttest.Day)
	m.Tick()
	require.Equal(t, "unconfirmed", m.Revocation(id, "state"), "no other token shows that Modal does not reject everything")
	m.Clock.Advance(-40 * mounttest.Day)
	m.Restart()

	m.Minutes(59)
	require.True(t, m.InQueue(id), "the second rejection must come an hour later")
	m.Minutes(5)
	require.False(t, m.InQueue(id))
	require.Equal(t, []string{"rejected twice"}, m.Proofs())
}

func TestSchedule_ReplacesATokenBeforeItExpiresInEveryCase(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy map[string]any
		steps  time.Duration // time from tick to tick, beyond one minute
		then   func(m *mounttest.Mount)
	}{
		"failures that end in time": {map[string]any{"token_ttl": "2h"}, 0, func(m *mounttest.Mount) {
			m.Modal.Inject("ServiceUserCreate", deleteFails)
			m.Minutes(113)
			m.Modal.ClearFaults()
		}},
		"failures for a day": {map[string]any{"token_ttl": "10d"}, 0, func(m *mounttest.Mount) {
			m.Clock.Advance(9*mounttest.Day - time.Minute)
			m.Modal.Inject("ServiceUserCreate", deleteFails)
			m.Minutes(20 * 60)
			m.Modal.ClearFaults()
		}},
		"a short life":                 {map[string]any{"token_ttl": "1h"}, 0, nil},
		"a window that comes too late": {map[string]any{"token_ttl": "10h", "rotation_schedule": "0 3 1 * *", "rotation_window": "1h"}, 5 * time.Minute, nil},
		"a schedule written later": {map[string]any{"token_ttl": "5d"}, time.Hour, func(m *mounttest.Mount) {
			m.Write("roles/ci", map[string]any{"rotation_schedule": "0 3 1 1 *"})
		}},
		"a period written later": {map[string]any{"token_ttl": "5d"}, time.Hour, func(m *mounttest.Mount) {
			m.Write("roles/ci", map[string]any{"rotation_period": "300d"})
		}},
		"a rotation disabled and enabled": {map[string]any{"token_ttl": "5d"}, time.Hour, func(m *mounttest.Mount) {
			m.Write("roles/ci", map[string]any{"disable_automated_rotation": true})
			m.Clock.Advance(mounttest.Day)
			m.Write("roles/ci", map[string]any{"disable_automated_rotation": false})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci", test.policy)
			expires := mounttest.At(t, m.Read("creds/ci")["expires_at"].(string))
			if test.then != nil {
				test.then(m)
			}
			for m.TokenID("ci") == old {
				require.True(t, m.Clock.Now().Before(expires), "the token expired before it was replaced")
				m.Minutes(1)
				m.Clock.Advance(test.steps)
			}
			require.Greater(t, expires.Sub(m.Clock.Now()), time.Minute)
		})
	}
}

func TestManaged_WarnsWhenModalSetsAnotherExpiry(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	sooner := func(a *pb.ServiceUserCreateResponse) {
		a.SetExpiresAt(timestamppb.New(m.Clock.Now().Add(30 * mounttest.Day)))
	}
	m.Modal.Inject("ServiceUserCreate", forever(mangle(sooner))(m))
	resp := m.Write("roles/ci", map[string]any{"type": "managed", "environment_roles": "main=contributor", "token_ttl": "60d"})
	require.Contains(t, strings.Join(resp.Warnings, "\n"), "the engine asked for token_ttl 60d, but Modal lets the token expire on 2026-03-31")
	require.Contains(t, strings.Join(m.Write("rotate/ci", nil).Warnings, "\n"), "the engine asked for token_ttl 60d")
	require.NotContains(t, m.Logs.String(), "scheduled")

	m.Clock.Advance(28 * mounttest.Day)
	m.Tick()

	require.Equal(t, int64(3), m.Read("creds/ci")["version"])
	require.Contains(t, m.Logs.String(), "Modal lets the token expire on 2026-04-28", "a scheduled rotation can warn only in the log")
}

func TestUndo_TokenCloseToItsExpiryIsReplacedInTime(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"token_ttl": "10h", "grace_period": "9h"})
	m.Clock.Advance(4 * time.Hour)
	m.Write("rotate/ci", nil)
	m.Clock.Advance(5*time.Hour + 30*time.Minute)
	_, err := m.Handle(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true})
	require.NoError(t, err)
	require.Equal(t, old, m.TokenID("ci"))
	m.Minutes(29)
	require.NotEqual(t, old, m.TokenID("ci"))
}

func TestClock_FarAheadDoesNotFreezeARole(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]func(m *mounttest.Mount){
		"when it rotated": func(m *mounttest.Mount) { m.Write("rotate/ci", nil) },
		"when it failed": func(m *mounttest.Mount) {
			m.Modal.SetOutage(true)
			m.Tick()
			m.Modal.SetOutage(false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.AddManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
			m.Clock.Advance(1000 * mounttest.Day)
			ahead(m)
			before := m.Read("creds/ci")["version"]
			m.Clock.Advance(-1000 * mounttest.Day)
			m.Restart()
			m.Tick()
			require.Equal(t, before, m.Read("creds/ci")["version"], "no extra rotation")
			m.Clock.Advance(10*time.Hour + time.Minute)
			m.Tick()
			require.Greater(t, m.Read("creds/ci")["version"], before)
		})
	}
}

func TestClock_AheadDoesNotPostponeAnOverdueRole(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "90d", "grace_period": "1h"})
	m.Clock.Advance(93 * mounttest.Day)
	m.Modal.SetOutage(true)
	m.Tick()
	m.Modal.SetOutage(false)
	m.Clock.Advance(-2 * mounttest.Day)
	m.Restart()
	m.Tick()
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
}

func TestClock_SetBackWhileRunningDoesNotFreezeARole(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
	m.Clock.Advance(100 * mounttest.Day)
	m.Write("rotate/ci", nil)
	m.Tick()
	m.Clock.Advance(-100 * mounttest.Day)
	m.Tick()
	m.Clock.Advance(11 * time.Hour)
	m.Tick()
	require.Equal(t, int64(3), m.Read("creds/ci")["version"])
}

func TestCreds_ExpiresAtIsModalsTimeUnderAWrongClock(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"token_ttl": "10d"})
	ahead := *m.Credential("ci")
	ahead.ClockOffset = time.Hour
	mounttest.PutEntry(t, m.Storage, "cred/ci", &ahead)
	m.Restart()

	require.Equal(t, ahead.ExpiresAt.Format(time.RFC3339), m.Read("creds/ci")["expires_at"])
}
