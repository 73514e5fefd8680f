// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestSchedule_RotatesOncePerPeriodWithALittleJitter(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
	require.WithinRange(t, m.NextRotation("ci"), mounttest.StartTime.Add(9*time.Hour+30*time.Minute), mounttest.StartTime.Add(10*time.Hour))
	m.Minutes(9 * 60)
	require.Equal(t, int64(1), m.Read("creds/ci")["version"])
	m.Minutes(61)
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
	m.Minutes(3 * 10 * 60)
	require.Equal(t, int64(5), m.Read("creds/ci")["version"])
	require.Contains(t, m.EventTypes(), "modal/rotate")
	require.Len(t, m.Modal.ServiceUsers(), 1+len(m.List("revocations")))
}

func TestSchedule_CronUsesUTCAndTheWriteShowsTheNextThreeTimes(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	resp := m.Write("roles/ci", map[string]any{
		"type": "managed", "environment_roles": "main=viewer", "rotation_schedule": "30  3 * * SAT", "rotation_window": "2h",
	})
	require.Equal(t, []string{"2026-03-07T03:30:00Z", "2026-03-14T03:30:00Z", "2026-03-21T03:30:00Z"}, resp.Data["next_firings"])
	require.WithinRange(t, m.NextRotation("ci"), mounttest.At(t, "2026-03-07T03:30:00Z"), mounttest.At(t, "2026-03-07T03:36:00Z"))
	require.Equal(t, int64(7*86400), m.Read("creds/ci")["rotation_period"], "consumers get the nominal period")
	require.NotContains(t, m.Read("creds/ci"), "rotation_schedule", "this key stops Kubernetes operators for good")
	require.Equal(t, "30 3 * * SAT", m.Read("roles/ci")["rotation_schedule"])
	m.Write("rotate/ci", nil)
	require.WithinRange(t, m.NextRotation("ci"), mounttest.At(t, "2026-03-07T03:30:00Z"), mounttest.At(t, "2026-03-07T03:36:00Z"), "a manual rotation keeps the schedule")
}

func TestSchedule_ManualRotationRestartsThePeriod(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "10h"})
	m.Clock.Advance(5 * time.Hour)
	m.Write("rotate/ci", nil)
	require.WithinRange(t, m.NextRotation("ci"), mounttest.StartTime.Add(14*time.Hour+30*time.Minute), mounttest.StartTime.Add(15*time.Hour))
}

func TestSchedule_RotationOutsideItsWindowWaitsForTheNextTime(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_schedule": "0 3 * * *", "rotation_window": "1h"})
	m.Clock.Advance(16*time.Hour + 30*time.Minute) // 04:30: no node ran during the window
	m.Minutes(22 * 60)
	require.Equal(t, int64(1), m.Read("creds/ci")["version"])
	m.Minutes(60)
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
}

func TestSchedule_RotatesWellBeforeATokenExpires(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for ttl, next := range map[string]time.Duration{
		"10h": 9 * time.Hour, "40h": 36 * time.Hour, "5d": 4 * mounttest.Day, "50d": 45 * mounttest.Day,
	} {
		m.AddManaged("r"+ttl, map[string]any{"token_ttl": ttl})
		require.Equal(t, mounttest.StartTime.Add(next), m.NextRotation("r"+ttl), ttl)
	}
}

func TestSchedule_DisabledRotatesOnlyOnRequest(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "10h"})
	m.Write("roles/ci", map[string]any{"disable_automated_rotation": true})
	m.Minutes(11 * 60)
	require.Equal(t, int64(1), m.Read("creds/ci")["version"])
	m.Write("rotate/ci", nil)
	m.Write("roles/ci", map[string]any{"disable_automated_rotation": ""})
	m.Minutes(11 * 60)
	require.Equal(t, int64(3), m.Read("creds/ci")["version"])
}

func TestSchedule_NewPeriodOrCronMovesTheNextRotation(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "100d"})
	m.Write("roles/ci", map[string]any{"rotation_period": "10d"})
	require.WithinRange(t, m.NextRotation("ci"), mounttest.StartTime.Add(228*time.Hour), mounttest.StartTime.Add(10*mounttest.Day))
	m.Write("roles/ci", map[string]any{"rotation_schedule": "0 0 * * *"})
	require.Equal(t, mounttest.At(t, "2026-03-02T00:00:00Z"), m.NextRotation("ci"))
	require.NotContains(t, m.Read("roles/ci"), "rotation_period")
	m.Write("roles/ci", map[string]any{"rotation_period": "20d"})
	require.NotContains(t, m.Read("roles/ci"), "rotation_schedule")
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"rotation_period": "1d", "rotation_schedule": "0 0 * * *"}), "exclude each other")
}

func TestSchedule_InvalidSchedulesAreRefused(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for schedule, says := range map[string]string{
		"every day": "write five fields", "0 0 30 2 *": "never fires", "CRON_TZ=Europe/Berlin 0 3 * * *": "leave the time zone out",
		"* * * * * *": "write five fields", "@daily": "write five fields", "0 99 * * *": "field 2, the hour, takes 0 to 23",
		"61 3 * * *": "field 1, the minute, takes 0 to 59", "0 3 32 * *": "field 3, the day of the month, takes 1 to 31",
		"0 3 * 13 *": "field 4, the month, takes 1 to 12 or JAN to DEC", "0 3 * * 5-7": "field 5, the day of the week, takes 0 to 6 or SUN to SAT, where 0 is Sunday",
	} {
		text := m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer", "rotation_schedule": schedule})
		require.Contains(t, text, says, schedule)
	}
	for says, data := range map[string]map[string]any{
		"rotation_window needs a rotation_schedule": {"rotation_window": "2h"},
		"rotation_window":                             {"rotation_schedule": "0 3 * * *", "rotation_window": "5m"},
		"token_ttl":                                   {"token_ttl": "1m"},
		"environment_roles is empty":                  {"environment_roles": map[string]any{}},
		"use viewer or contributor":                   {"environment_roles": "main=owner"},
		"Modal's names":                               {"environment_roles": "a b=viewer"},
		"token_id, token_secret are for static roles": {"token_id": mounttest.SomeID, "token_secret": mounttest.SomeSecret},
	} {
		text := m.Refused(logical.UpdateOperation, "roles/ci", mounttest.Also(map[string]any{"type": "managed", "environment_roles": "main=viewer"}, pairsOf(data)...))
		require.Contains(t, text, says)
	}
	require.Empty(t, m.Modal.ServiceUsers())
}

func pairsOf(data map[string]any) []any {
	var pairs []any
	for name, value := range data {
		pairs = append(pairs, name, value)
	}
	return pairs
}

func TestSchedule_AfterADownTimeEachRoleRotatesOnce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for i := range 10 {
		m.AddManaged(fmt.Sprintf("r%d", i), map[string]any{"rotation_period": "1h", "grace_period": "10h"})
	}
	m.Clock.Advance(10 * mounttest.Day)
	m.Restart()
	m.Minutes(3)
	for i := range 10 {
		require.Equal(t, int64(2), m.Read(fmt.Sprintf("creds/r%d", i))["version"])
	}
}

func TestSchedule_TTLPointsAtTheNextRotation(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h", "refresh_interval": "10m"})
	next := m.NextRotation("ci")
	m.Clock.Advance(next.Sub(mounttest.StartTime) - time.Minute)
	require.Equal(t, int64(62), m.Read("creds/ci")["ttl"])
	m.Clock.Advance(2 * time.Minute)
	require.Equal(t, int64(600), m.Read("creds/ci")["ttl"], "a time in the past does not count")
}

func TestClock_OfANewLeaderNeitherRotatesNorRevokesAtAWrongTime(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour behind": -time.Hour, "two hours behind": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.AddManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "4h", "refresh_interval": "5m"})
			m.Minutes(9*60 + 59)
			m.Minutes(2)
			require.Equal(t, int64(2), m.Read("creds/ci")["version"])
			previous := m.List("revocations")[0]
			m.Clock.Advance(skew)
			m.Restart()
			m.Minutes(90)
			require.Equal(t, int64(2), m.Read("creds/ci")["version"], "no extra rotation")
			require.True(t, m.Knows(previous), "no early revocation")
			m.Minutes(11*60 + 30)
			require.Equal(t, int64(3), m.Read("creds/ci")["version"], "the rotations continue")
			ttl, _ := m.Read("creds/ci")["ttl"].(int64)
			require.True(t, ttl >= 5 && ttl <= 300)
		})
	}
}

func TestSchedule_AHundredDueRotationsRunFourAtATime(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.SeedManaged(t, 500, 100)
	var inFlight, most atomic.Int64
	m.Modal.OnCall(func(method string) {
		switch method {
		case "ServiceUserCreate":
			most.Store(max(most.Load(), inFlight.Add(1)))
		case "ServiceUserInfo":
			inFlight.Add(-1)
		}
	})

	for ticks := 0; ticks < 5 && len(m.Modal.Calls("ServiceUserCreate")) < 100; ticks++ { // one tick suffices unless the machine is busy
		m.Tick()
	}

	require.LessOrEqual(t, most.Load(), int64(4))
	require.Len(t, m.Modal.Calls("ServiceUserCreate"), 100)
	m.Tick()
	m.Storage.Heal()
	m.Clock.Advance(time.Minute)
	m.Tick()
	require.LessOrEqual(t, m.Storage.Calls(), 1, "an idle tick lists the revocation queue and reads nothing")
	require.Len(t, m.Modal.Calls("ServiceUserCreate"), 100)
}

func TestTick_TenAtOnceDoNotOverlap(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
	m.Clock.Advance(time.Hour)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			_, _ = m.HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.Storage, Data: map[string]any{}})
		})
	}
	group.Wait()
	m.Tick()
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
	require.Equal(t, 1, strings.Count(strings.Join(m.EventTypes(), " "), "modal/rotate"))
}

func TestSchedule_TTLPointsAtTheNextAttemptWhileRotationsFail(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"refresh_interval": "1h"})
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.PermissionDenied, Times: 100})
	m.Clock.Advance(91 * mounttest.Day)
	m.Tick()
	next, err := time.Parse(time.RFC3339, mounttest.TextIn(m.Read("rotate/ci"), "next_attempt"))
	require.NoError(t, err)

	wait := next.Sub(m.Clock.Now()) + 2*time.Second

	require.Less(t, wait, time.Hour)
	require.Equal(t, int64(wait.Seconds()), m.Read("creds/ci")["ttl"])
}

func TestSchedule_TTLOfARejectedTokenPointsAtTheNextAttempt(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"refresh_interval": "1h"})
	require.True(t, m.Modal.DeleteToken(old))
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.PermissionDenied, Times: 100})
	require.Equal(t, false, m.Write("verify/ci", nil).Data["accepted"])
	m.Minutes(1)
	next, err := time.Parse(time.RFC3339, mounttest.TextIn(m.Read("rotate/ci"), "next_attempt"))
	require.NoError(t, err)

	wait := next.Sub(m.Clock.Now()) + 2*time.Second

	require.Less(t, wait, time.Hour)
	require.Equal(t, int64(wait.Seconds()), m.Read("creds/ci")["ttl"])
}

func TestSchedule_ARejectedTokenIsReplacedOutsideTheWindowToo(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"rotation_schedule": "0 3 1 * *", "rotation_window": "1h"})
	m.Clock.Advance(3 * time.Hour)
	require.True(t, m.Modal.DeleteToken(old))
	require.Equal(t, false, m.Write("verify/ci", nil).Data["accepted"])

	m.Minutes(1)

	require.NotEqual(t, old, m.TokenID("ci"), "consumers have no valid token until the role rotates")
}

func TestSchedule_ARotationWhoseLastAnswerWasLostIsNoFailure(t *testing.T) {
	t.Parallel()
	due := func() (m *mounttest.Mount, old string) {
		m = mounttest.NewManaged(t)
		old = m.AddManaged("ci", map[string]any{"rotation_period": "7d"})
		m.Clock.Advance(7 * mounttest.Day)
		m.Storage.Plan(mounttest.Cut{})
		return m, old
	}
	rehearsal, _ := due()
	rehearsal.Tick()
	rotation := slices.Index(rehearsal.Storage.Recorded(), "put cred/ci") + 1
	m, old := due()
	m.Storage.Plan(mounttest.Cut{At: rotation, Committed: true})

	_ = m.TickAnyway()

	require.True(t, m.Storage.WasCut())
	m.Storage.Heal()
	next := m.Credential("ci")
	require.NotEqual(t, old, next.ID, "consumers may have read the new token already")
	require.Empty(t, next.LastError)
	m.Minutes(30)
	require.Equal(t, next.ID, m.TokenID("ci"))
	require.True(t, m.Knows(next.ID))
}
