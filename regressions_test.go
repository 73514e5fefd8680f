// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file repeat failures that the simulation found.

// fallBehind sets the engine's clock behind Modal's. It returns a function that advances both clocks.
func (m *mount) fallBehind(by time.Duration) (pass func(d time.Duration)) {
	m.t.Helper()
	atModal := m.clock
	m.clock = &fakeClock{at: atModal.now().Add(-by)}
	m.restart()
	return func(d time.Duration) {
		atModal.advance(d)
		m.clock.advance(d)
	}
}

func TestClock_BehindDoesNotCallAnExpiredTokenRevoked(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(m *mount, old string){
		"when it is forgotten": func(m *mount, old string) {
			require.Contains(m.t, m.refused(logical.DeleteOperation, "revocations/"+old, nil), "still exists")
		},
		"when the admin may not delete": func(m *mount, old string) {
			m.modal.Inject("ServiceUserDelete", deleteFails)
			require.Equal(m.t, false, m.write("revocations/"+old, map[string]any{"force": true}).Data["revoked"])
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			pass := m.fallBehind(7 * time.Hour)
			old := m.addManaged("ci", map[string]any{"token_ttl": "48h"})
			secret, _ := m.read("creds/ci")["token_secret"].(string)
			pass(36 * time.Hour)
			m.write("rotate/ci", nil)
			pass(12*time.Hour + time.Minute)
			require.False(t, m.modal.Accepts(old, secret), "the token expired, and its service user still exists")

			ask(m, old)

			require.True(t, m.inQueue(old))
			m.modal.ClearFaults()
			pass(24 * time.Hour)
			m.tick()
			require.False(t, m.inQueue(old))
			require.False(t, m.knows(old))
		})
	}
}

func TestSchedule_PostponingOrDisablingClearsAFailedRotation(t *testing.T) {
	t.Parallel()
	for state, policy := range map[string]map[string]any{
		"ok":       {"rotation_period": "30d"},
		"disabled": {"disable_automated_rotation": true},
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			m.addManaged("ci", map[string]any{"rotation_period": "10d"})
			m.clock.advance(m.nextRotation("ci").Sub(m.clock.now()))
			m.modal.SetOutage(true)
			m.tick()
			m.modal.SetOutage(false)
			require.Equal(t, "failing", m.read("rotate/ci")["state"])

			m.write("roles/ci", policy)

			rotation := m.read("rotate/ci")
			require.Equal(t, state, rotation["state"])
			require.NotContains(t, rotation, "attempts")
			require.NotContains(t, rotation, "last_error")
			require.NotContains(t, rotation, "next_attempt")
		})
	}
}

func TestSchedule_KeepsTheFailureWhileTheRotationIsStillDue(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "10d"})
	m.clock.advance(m.nextRotation("ci").Sub(m.clock.now()))
	m.modal.SetOutage(true)
	m.tick()
	m.write("roles/ci", map[string]any{"rotation_period": "9d"})
	require.Equal(t, int64(1), m.read("rotate/ci")["attempts"])
	require.NotEmpty(t, m.read("rotate/ci")["last_error"])
}

func TestClock_RepairedTimesClearTheFailureOfAFastClock(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("config", map[string]any{"verification_interval": 0}) // Modal's clock goes back too, so Modal would reject the token
	m.clock.advance(40 * day)
	m.addManaged("ci", map[string]any{"rotation_period": "7d"})
	m.clock.advance(m.nextRotation("ci").Sub(m.clock.now()))
	m.modal.SetOutage(true)
	m.tick()
	m.modal.SetOutage(false)
	require.Equal(t, "failing", m.read("rotate/ci")["state"])
	m.clock.advance(-40 * day)
	m.restart()
	m.tick()
	require.True(t, m.nextRotation("ci").After(m.clock.now()))
	require.Equal(t, "ok", m.read("rotate/ci")["state"])
	require.NotContains(t, m.read("rotate/ci"), "last_error")
}

func TestRevocation_ThrottledCreateThatModalExecutedIsDeleted(t *testing.T) {
	t.Parallel()
	for name, knownLate := range map[string]bool{"where its service user is found at once": false, "where it is found later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			m.modal.Inject("ServiceUserCreate", modaltest.Fault{
				Code: codes.ResourceExhausted, Message: "slow down", RetryAfter: time.Hour, AfterCommit: true, Times: -1,
			})
			if knownLate {
				m.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.NotFound, Message: "not yet", Times: -1})
			}
			require.Error(t, m.try(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer"}))
			m.modal.ClearFaults()
			require.Len(t, m.list("revocations"), 1, "the service user may appear later, or be created again after its deletion")
			m.minutes(24)
			require.Empty(t, m.modal.ServiceUsers())
			require.Empty(t, m.list("revocations"))
		})
	}
}

func TestRevocation_ThrottledCreateIsDeletedAfterARefusedRetry(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.NotFound} {
		m := newManagedMount(t)
		m.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Millisecond, AfterCommit: true, Times: 1})
		m.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: code, Message: "no", Times: -1})
		require.Error(t, m.try(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer"}))
		m.modal.ClearFaults()
		require.Len(t, m.list("revocations"), 1, code)
		m.minutes(24)
		require.Empty(t, m.modal.ServiceUsers(), code)
		require.Empty(t, m.list("revocations"), code)
	}
}

func TestClock_CorrectedAfterACreationLosesNoServiceUser(t *testing.T) {
	t.Parallel()
	for name, check := range map[string]func(m *mount, key string){
		"the worker":  func(m *mount, _ string) { m.minutes(2) },
		"an operator": func(m *mount, key string) { m.write("revocations/"+key, nil) },
		"force":       func(m *mount, key string) { m.write("revocations/"+key, map[string]any{"force": true}) },
		"a delete":    func(m *mount, key string) { _ = m.try(logical.DeleteOperation, "revocations/"+key, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, key := unansweredRotation(t)
			m.clock.advance(7 * time.Hour) // or another node with a correct clock becomes the leader

			check(m, key)

			require.True(t, m.inQueue(key))
			m.modalCreatesLate(key)
		})
	}
}

func TestClock_TwoNodesThatDifferLoseNoServiceUser(t *testing.T) {
	t.Parallel()
	m, key := unansweredRotation(t)
	for range 2 { // another node with another clock
		m.clock.advance(7 * time.Hour)
		m.restart()
		m.tick()
		require.True(t, m.inQueue(key))
	}
	m.modalCreatesLate(key)
}

func TestClock_FarAheadDoesNotKeepAnUnfinishedRevocation(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, Times: 1})
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.modal.ClearFaults()
	require.Len(t, m.list("revocations"), 1)
	m.clock.advance(40 * day)
	m.tick()
	m.clock.advance(-40 * day)
	m.restart()
	m.minutes(40)
	require.Empty(t, m.list("revocations"))
}

func TestRevocation_ServiceUserCreatedByALateAttemptIsDeleted(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	_, err := m.handle(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer"})
	require.Error(t, err)
	queued := m.list("revocations")
	require.Len(t, queued, 1, "the service user was deleted, and another attempt may still be under way")
	_, err = m.workspace.CreateServiceUser(queued[0])
	require.NoError(t, err)
	m.minutes(25)
	require.Empty(t, m.list("revocations"))
	require.Empty(t, m.modal.ServiceUsers())
}
