// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// at parses an RFC 3339 time.
func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return parsed
}

func (m *mount) nextRotation(name string) time.Time {
	m.t.Helper()
	text, _ := m.read("rotate/" + name)["next_rotation"].(string)
	return at(m.t, text)
}

func TestSchedule_RotatesOncePerPeriodWithALittleJitter(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
	require.WithinRange(t, m.nextRotation("ci"), start.Add(9*time.Hour+30*time.Minute), start.Add(10*time.Hour))
	m.minutes(9 * 60)
	require.Equal(t, int64(1), m.read("creds/ci")["version"])
	m.minutes(61)
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
	m.minutes(3 * 10 * 60)
	require.Equal(t, int64(5), m.read("creds/ci")["version"])
	require.Contains(t, m.eventTypes(), "modal/rotate")
	require.Len(t, m.modal.ServiceUsers(), 1+len(m.list("revocations")))
}

func TestSchedule_CronUsesUTCAndTheWriteShowsTheNextThreeTimes(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	resp := m.write("roles/ci", map[string]any{
		"type": "managed", "environment_roles": "main=viewer", "rotation_schedule": "30  3 * * SAT", "rotation_window": "2h",
	})
	require.Equal(t, []string{"2026-03-07T03:30:00Z", "2026-03-14T03:30:00Z", "2026-03-21T03:30:00Z"}, resp.Data["next_firings"])
	require.WithinRange(t, m.nextRotation("ci"), at(t, "2026-03-07T03:30:00Z"), at(t, "2026-03-07T03:36:00Z"))
	require.Equal(t, int64(7*86400), m.read("creds/ci")["rotation_period"], "consumers get the nominal period")
	require.NotContains(t, m.read("creds/ci"), "rotation_schedule", "this key stops Kubernetes operators for good")
	require.Equal(t, "30 3 * * SAT", m.read("roles/ci")["rotation_schedule"])
	m.write("rotate/ci", nil)
	require.WithinRange(t, m.nextRotation("ci"), at(t, "2026-03-07T03:30:00Z"), at(t, "2026-03-07T03:36:00Z"), "a manual rotation keeps the schedule")
}

func TestSchedule_ManualRotationRestartsThePeriod(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "10h"})
	m.clock.advance(5 * time.Hour)
	m.write("rotate/ci", nil)
	require.WithinRange(t, m.nextRotation("ci"), start.Add(14*time.Hour+30*time.Minute), start.Add(15*time.Hour))
}

func TestSchedule_RotationOutsideItsWindowWaitsForTheNextTime(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_schedule": "0 3 * * *", "rotation_window": "1h"})
	m.clock.advance(16*time.Hour + 30*time.Minute) // 04:30: no node ran during the window
	m.minutes(22 * 60)
	require.Equal(t, int64(1), m.read("creds/ci")["version"])
	m.minutes(60)
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
}

func TestSchedule_RotatesWellBeforeATokenExpires(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	for ttl, next := range map[string]time.Duration{
		"10h": 9 * time.Hour, "40h": 36 * time.Hour, "5d": 4 * day, "50d": 45 * day,
	} {
		m.addManaged("r"+ttl, map[string]any{"token_ttl": ttl})
		require.Equal(t, start.Add(next), m.nextRotation("r"+ttl), ttl)
	}
}

func TestSchedule_DisabledRotatesOnlyOnRequest(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "10h"})
	m.write("roles/ci", map[string]any{"disable_automated_rotation": true})
	m.minutes(11 * 60)
	require.Equal(t, int64(1), m.read("creds/ci")["version"])
	m.write("rotate/ci", nil)
	m.write("roles/ci", map[string]any{"disable_automated_rotation": ""})
	m.minutes(11 * 60)
	require.Equal(t, int64(3), m.read("creds/ci")["version"])
}

func TestSchedule_NewPeriodOrCronMovesTheNextRotation(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "100d"})
	m.write("roles/ci", map[string]any{"rotation_period": "10d"})
	require.WithinRange(t, m.nextRotation("ci"), start.Add(228*time.Hour), start.Add(10*day))
	m.write("roles/ci", map[string]any{"rotation_schedule": "0 0 * * *"})
	require.Equal(t, at(t, "2026-03-02T00:00:00Z"), m.nextRotation("ci"))
	require.NotContains(t, m.read("roles/ci"), "rotation_period")
	m.write("roles/ci", map[string]any{"rotation_period": "20d"})
	require.NotContains(t, m.read("roles/ci"), "rotation_schedule")
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/ci", map[string]any{"rotation_period": "1d", "rotation_schedule": "0 0 * * *"}), "exclude each other")
}

func TestSchedule_InvalidSchedulesAreRefused(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	for schedule, says := range map[string]string{
		"every day": "write five fields", "0 0 30 2 *": "never fires", "CRON_TZ=Europe/Berlin 0 3 * * *": "leave the time zone out",
		"* * * * * *": "write five fields", "@daily": "write five fields", "0 99 * * *": "field 2, the hour, takes 0 to 23",
		"61 3 * * *": "field 1, the minute, takes 0 to 59", "0 3 32 * *": "field 3, the day of the month, takes 1 to 31",
		"0 3 * 13 *": "field 4, the month, takes 1 to 12 or JAN to DEC", "0 3 * * 5-7": "field 5, the day of the week, takes 0 to 6 or SUN to SAT, where 0 is Sunday",
	} {
		text := m.refused(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer", "rotation_schedule": schedule})
		require.Contains(t, text, says, schedule)
	}
	for says, data := range map[string]map[string]any{
		"rotation_window needs a rotation_schedule": {"rotation_window": "2h"},
		"rotation_window":                             {"rotation_schedule": "0 3 * * *", "rotation_window": "5m"},
		"token_ttl":                                   {"token_ttl": "1m"},
		"environment_roles is empty":                  {"environment_roles": map[string]any{}},
		"use viewer or contributor":                   {"environment_roles": "main=owner"},
		"Modal's names":                               {"environment_roles": "a b=viewer"},
		"token_id, token_secret are for static roles": {"token_id": someID, "token_secret": someSecret},
	} {
		text := m.refused(logical.UpdateOperation, "roles/ci", also(map[string]any{"type": "managed", "environment_roles": "main=viewer"}, pairsOf(data)...))
		require.Contains(t, text, says)
	}
	require.Empty(t, m.modal.ServiceUsers())
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
	m := newManagedMount(t)
	for i := range 10 {
		m.addManaged(fmt.Sprintf("r%d", i), map[string]any{"rotation_period": "1h", "grace_period": "10h"})
	}
	m.clock.advance(10 * day)
	m.restart()
	m.minutes(3)
	for i := range 10 {
		require.Equal(t, int64(2), m.read(fmt.Sprintf("creds/r%d", i))["version"])
	}
}

func TestSchedule_TTLPointsAtTheNextRotation(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h", "refresh_interval": "10m"})
	next := m.nextRotation("ci")
	m.clock.advance(next.Sub(start) - time.Minute)
	require.Equal(t, int64(62), m.read("creds/ci")["ttl"])
	m.clock.advance(2 * time.Minute)
	require.Equal(t, int64(600), m.read("creds/ci")["ttl"], "a time in the past does not count")
}

func TestClock_OfANewLeaderNeitherRotatesNorRevokesAtAWrongTime(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour behind": -time.Hour, "two hours behind": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			m.addManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "4h", "refresh_interval": "5m"})
			m.minutes(9*60 + 59)
			m.minutes(2)
			require.Equal(t, int64(2), m.read("creds/ci")["version"])
			previous := m.list("revocations")[0]
			m.clock.advance(skew)
			m.restart()
			m.minutes(90)
			require.Equal(t, int64(2), m.read("creds/ci")["version"], "no extra rotation")
			require.True(t, m.knows(previous), "no early revocation")
			m.minutes(11*60 + 30)
			require.Equal(t, int64(3), m.read("creds/ci")["version"], "the rotations continue")
			ttl, _ := m.read("creds/ci")["ttl"].(int64)
			require.True(t, ttl >= 5 && ttl <= 300)
		})
	}
}

// knows reports whether Modal still has a token.
func (m *mount) knows(id string) bool {
	for _, token := range m.modal.Tokens() {
		if token.ID == id {
			return true
		}
	}
	return false
}

// seedManaged stores managed roles with tokens that do not exist at Modal. The first due roles are due now.
func (m *mount) seedManaged(tb testing.TB, count, due int) {
	tb.Helper()
	for i := range count {
		name := fmt.Sprintf("role-%05d", i)
		r := &model.Role{Type: model.TypeManaged, RefreshInterval: 5 * time.Minute, GracePeriod: day, RotationPeriod: 90 * day}
		r.Managed = &model.ManagedPolicy{Access: model.Access{Scoped: true, EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}}}
		cred := &model.Credential{Version: 1, LastRotation: start, NextRotation: start.Add(89 * day), Token: model.Token{
			ID: fmt.Sprintf("ak-%022d", i), Secret: fmt.Sprintf("as-%022d", i), WorkspaceID: m.workspace.ID(), Workspace: "acme",
			IdentityType: modalapi.IdentityServiceUser, IdentityID: fmt.Sprintf("sv-%d", i), Identity: fmt.Sprintf("vault-seed-%d", i), LastVerified: start,
		}}
		if i < due {
			cred.NextRotation = start
		}
		putEntry(tb, m.storage, "cred/"+name, cred)
		putEntry(tb, m.storage, "role/"+name, r)
	}
}

func TestSchedule_FiveHundredDueRotationsRunFourAtATime(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.seedManaged(t, 2000, 500)
	var inFlight, most atomic.Int64
	m.modal.OnCall(func(method string) {
		switch method {
		case "ServiceUserCreate":
			most.Store(max(most.Load(), inFlight.Add(1)))
		case "ServiceUserInfo":
			inFlight.Add(-1)
		}
	})

	for ticks := 0; ticks < 5 && len(m.modal.Calls("ServiceUserCreate")) < 500; ticks++ { // one tick suffices unless the machine is busy
		m.tick()
	}

	require.LessOrEqual(t, most.Load(), int64(4))
	require.Len(t, m.modal.Calls("ServiceUserCreate"), 500)
	m.tick()
	m.storage.heal()
	m.clock.advance(time.Minute)
	m.tick()
	require.LessOrEqual(t, m.storage.calls(), 1, "an idle tick lists the revocation queue and reads nothing")
	require.Len(t, m.modal.Calls("ServiceUserCreate"), 500)
}

func TestTick_TenAtOnceDoNotOverlap(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h"})
	m.clock.advance(time.Hour)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			_, _ = m.HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage, Data: map[string]any{}})
		})
	}
	group.Wait()
	m.tick()
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
	require.Equal(t, 1, strings.Count(strings.Join(m.eventTypes(), " "), "modal/rotate"))
}
