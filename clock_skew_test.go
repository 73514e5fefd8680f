// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// The tests in this file run the engine with wrong clocks and with tokens that expire.

// changeRevocation changes a stored revocation, as if another node had written it.
func (m *mount) changeRevocation(id string, change func(r *model.Revocation)) {
	m.t.Helper()
	table := store.New[model.Revocation](&m.storage.InmemStorage, "revocation/", store.Options{})
	stored, err := table.Get(m.t.Context(), id)
	require.NoError(m.t, err)
	changed := *stored
	change(&changed)
	require.NoError(m.t, table.Put(m.t.Context(), id, &changed))
	m.restart()
}

func TestRevocation_DatedByAFastClockGetsAFullGracePeriodFromNow(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"grace_period": "4h"})
	m.write("rotate/ci", nil)
	m.changeRevocation(old, func(r *model.Revocation) {
		for _, moment := range []*time.Time{&r.Since, &r.NotBefore, &r.NextAttempt} {
			*moment = moment.Add(1000 * day)
		}
	})
	m.minutes(4*60 - 5)
	require.True(t, m.knows(old), "consumers were promised four hours")
	m.minutes(10)
	require.False(t, m.knows(old))
	require.False(t, m.inQueue(old))
}

func TestRevocation_WithANextAttemptFarAheadIsTriedNow(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	m.changeRevocation(old, func(r *model.Revocation) {
		r.Attempts, r.LastAttempt, r.NextAttempt = 1, m.clock.now().Add(1000*day), m.clock.now().Add(1000*day)
	})
	m.minutes(2)
	require.False(t, m.inQueue(old))
}

func TestSchedule_ReplacesATokenBeforeItExpiresInEveryCase(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy map[string]any
		steps  time.Duration // time from tick to tick, beyond one minute
		then   func(m *mount)
	}{
		"failures that end in time": {map[string]any{"token_ttl": "2h"}, 0, func(m *mount) {
			m.modal.Inject("ServiceUserCreate", deleteFails)
			m.minutes(113)
			m.modal.ClearFaults()
		}},
		"failures for a day": {map[string]any{"token_ttl": "10d"}, 0, func(m *mount) {
			m.clock.advance(9*day - time.Minute)
			m.modal.Inject("ServiceUserCreate", deleteFails)
			m.minutes(20 * 60)
			m.modal.ClearFaults()
		}},
		"a short life":                 {map[string]any{"token_ttl": "1h"}, 0, nil},
		"a window that comes too late": {map[string]any{"token_ttl": "10h", "rotation_schedule": "0 3 1 * *", "rotation_window": "1h"}, 5 * time.Minute, nil},
		"a schedule written later": {map[string]any{"token_ttl": "5d"}, time.Hour, func(m *mount) {
			m.write("roles/ci", map[string]any{"rotation_schedule": "0 3 1 1 *"})
		}},
		"a period written later": {map[string]any{"token_ttl": "5d"}, time.Hour, func(m *mount) {
			m.write("roles/ci", map[string]any{"rotation_period": "300d"})
		}},
		"a rotation disabled and enabled": {map[string]any{"token_ttl": "5d"}, time.Hour, func(m *mount) {
			m.write("roles/ci", map[string]any{"disable_automated_rotation": true})
			m.clock.advance(day)
			m.write("roles/ci", map[string]any{"disable_automated_rotation": false})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			old := m.addManaged("ci", test.policy)
			expires := at(t, m.read("creds/ci")["expires_at"].(string))
			if test.then != nil {
				test.then(m)
			}
			for m.tokenID("ci") == old {
				require.True(t, m.clock.now().Before(expires), "the token expired before it was replaced")
				m.minutes(1)
				m.clock.advance(test.steps)
			}
			require.Greater(t, expires.Sub(m.clock.now()), time.Minute)
		})
	}
}

func TestManaged_WarnsWhenModalSetsAnotherExpiry(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	sooner := func(a *pb.ServiceUserCreateResponse) { a.SetExpiresAt(timestamppb.New(m.clock.now().Add(30 * day))) }
	m.modal.Inject("ServiceUserCreate", forever(mangle(sooner))(m))
	resp := m.write("roles/ci", map[string]any{"type": "managed", "environment_roles": "main=contributor", "token_ttl": "60d"})
	require.Contains(t, strings.Join(resp.Warnings, "\n"), "the engine asked for token_ttl 60d, but Modal lets the token expire on 2026-03-31")
	require.Contains(t, strings.Join(m.write("rotate/ci", nil).Warnings, "\n"), "the engine asked for token_ttl 60d")
	require.NotContains(t, m.logs.String(), "scheduled")

	m.clock.advance(28 * day)
	m.tick()

	require.Equal(t, int64(3), m.read("creds/ci")["version"])
	require.Contains(t, m.logs.String(), "Modal lets the token expire on 2026-04-28", "a scheduled rotation can warn only in the log")
}

func TestUndo_TokenCloseToItsExpiryIsReplacedInTime(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"token_ttl": "10h", "grace_period": "9h"})
	m.clock.advance(4 * time.Hour)
	m.write("rotate/ci", nil)
	m.clock.advance(5*time.Hour + 30*time.Minute)
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", map[string]any{"to_previous": true})
	require.NoError(t, err)
	require.Equal(t, old, m.tokenID("ci"))
	m.minutes(29)
	require.NotEqual(t, old, m.tokenID("ci"))
}

func TestClock_FarAheadDoesNotFreezeARole(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]func(m *mount){
		"when it rotated": func(m *mount) { m.write("rotate/ci", nil) },
		"when it failed": func(m *mount) {
			m.modal.SetOutage(true)
			m.tick()
			m.modal.SetOutage(false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			m.addManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
			m.clock.advance(1000 * day)
			ahead(m)
			before := m.read("creds/ci")["version"]
			m.clock.advance(-1000 * day)
			m.restart()
			m.tick()
			require.Equal(t, before, m.read("creds/ci")["version"], "no extra rotation")
			m.clock.advance(10*time.Hour + time.Minute)
			m.tick()
			require.Greater(t, m.read("creds/ci")["version"], before)
		})
	}
}

func TestClock_AheadDoesNotPostponeAnOverdueRole(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "90d", "grace_period": "1h"})
	m.clock.advance(93 * day)
	m.modal.SetOutage(true)
	m.tick()
	m.modal.SetOutage(false)
	m.clock.advance(-2 * day)
	m.restart()
	m.tick()
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
}

func TestClock_SetBackWhileRunningDoesNotFreezeARole(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
	m.clock.advance(100 * day)
	m.write("rotate/ci", nil)
	m.tick()
	m.clock.advance(-100 * day)
	m.tick()
	m.clock.advance(11 * time.Hour)
	m.tick()
	require.Equal(t, int64(3), m.read("creds/ci")["version"])
}
