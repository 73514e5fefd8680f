// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file repeat failures that the simulation found.

func TestClock_BehindDoesNotCallAnExpiredTokenRevoked(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(m *mounttest.Mount, old string){
		"when it is forgotten": func(m *mounttest.Mount, old string) {
			require.Contains(m.T, m.Refused(logical.DeleteOperation, "revocations/"+old, nil), "still exists")
		},
		"when the admin may not delete": func(m *mounttest.Mount, old string) {
			m.Modal.Inject("ServiceUserDelete", deleteFails)
			require.Equal(m.T, false, m.Write("revocations/"+old, map[string]any{"force": true}).Data["revoked"])
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			pass := m.FallBehind(7 * time.Hour)
			old := m.AddManaged("ci", map[string]any{"token_ttl": "48h"})
			secret, _ := m.Read("creds/ci")["token_secret"].(string)
			pass(36 * time.Hour)
			m.Write("rotate/ci", nil)
			pass(12*time.Hour + time.Minute)
			require.False(t, m.Modal.Accepts(old, secret), "the token expired, and its service user still exists")

			ask(m, old)

			require.True(t, m.InQueue(old))
			m.Modal.ClearFaults()
			pass(24 * time.Hour)
			m.Tick()
			require.False(t, m.InQueue(old))
			require.False(t, m.Knows(old))
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
			m := mounttest.NewManaged(t)
			m.AddManaged("ci", map[string]any{"rotation_period": "10d"})
			m.Clock.Advance(m.NextRotation("ci").Sub(m.Clock.Now()))
			m.Modal.SetOutage(true)
			m.Tick()
			m.Modal.SetOutage(false)
			require.Equal(t, "failing", m.Read("rotate/ci")["state"])

			m.Write("roles/ci", policy)

			rotation := m.Read("rotate/ci")
			require.Equal(t, state, rotation["state"])
			require.NotContains(t, rotation, "attempts")
			require.NotContains(t, rotation, "last_error")
			require.NotContains(t, rotation, "next_attempt")
		})
	}
}

func TestSchedule_KeepsTheFailureWhileTheRotationIsStillDue(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "10d"})
	m.Clock.Advance(m.NextRotation("ci").Sub(m.Clock.Now()))
	m.Modal.SetOutage(true)
	m.Tick()
	m.Write("roles/ci", map[string]any{"rotation_period": "9d"})
	require.Equal(t, int64(1), m.Read("rotate/ci")["attempts"])
	require.NotEmpty(t, m.Read("rotate/ci")["last_error"])
}

func TestClock_RepairedTimesClearTheFailureOfAFastClock(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("config", map[string]any{"verification_interval": 0}) // Modal's clock goes back too, so Modal would reject the token
	m.Clock.Advance(40 * mounttest.Day)
	m.AddManaged("ci", map[string]any{"rotation_period": "7d"})
	m.Clock.Advance(m.NextRotation("ci").Sub(m.Clock.Now()))
	m.Modal.SetOutage(true)
	m.Tick()
	m.Modal.SetOutage(false)
	require.Equal(t, "failing", m.Read("rotate/ci")["state"])
	m.Clock.Advance(-40 * mounttest.Day)
	m.Restart()
	m.Tick()
	require.True(t, m.NextRotation("ci").After(m.Clock.Now()))
	require.Equal(t, "ok", m.Read("rotate/ci")["state"])
	require.NotContains(t, m.Read("rotate/ci"), "last_error")
}

func TestRevocation_ThrottledCreateThatModalExecutedIsDeleted(t *testing.T) {
	t.Parallel()
	for name, knownLate := range map[string]bool{"where its service user is found at once": false, "where it is found later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.Modal.Inject("ServiceUserCreate", modaltest.Fault{
				Code: codes.ResourceExhausted, Message: "slow down", RetryAfter: time.Hour, AfterCommit: true, Times: -1,
			})
			if knownLate {
				m.Modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.NotFound, Message: "not yet", Times: -1})
			}
			require.Error(t, m.Try(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer"}))
			m.Modal.ClearFaults()
			require.Len(t, m.List("revocations"), 1, "the service user may appear later, or be created again after its deletion")
			m.Minutes(24)
			require.Empty(t, m.Modal.ServiceUsers())
			require.Empty(t, m.List("revocations"))
		})
	}
}

func TestRevocation_ThrottledCreateIsDeletedAfterARefusedRetry(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.NotFound} {
		m := mounttest.NewManaged(t)
		m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Millisecond, AfterCommit: true, Times: 1})
		m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: code, Message: "no", Times: -1})
		require.Error(t, m.Try(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer"}))
		m.Modal.ClearFaults()
		require.Len(t, m.List("revocations"), 1, code)
		m.Minutes(24)
		require.Empty(t, m.Modal.ServiceUsers(), code)
		require.Empty(t, m.List("revocations"), code)
	}
}

func TestClock_CorrectedAfterACreationLosesNoServiceUser(t *testing.T) {
	t.Parallel()
	for name, check := range map[string]func(m *mounttest.Mount, key string){
		"the worker":  func(m *mounttest.Mount, _ string) { m.Minutes(2) },
		"an operator": func(m *mounttest.Mount, key string) { m.Write("revocations/"+key, nil) },
		"force":       func(m *mounttest.Mount, key string) { m.Write("revocations/"+key, map[string]any{"force": true}) },
		"a delete":    func(m *mounttest.Mount, key string) { _ = m.Try(logical.DeleteOperation, "revocations/"+key, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, key := unansweredRotation(t)
			m.Clock.Advance(7 * time.Hour) // or another node with a correct clock becomes the leader

			check(m, key)

			require.True(t, m.InQueue(key))
			m.ModalCreatesLate(key)
		})
	}
}

func TestClock_TwoNodesThatDifferLoseNoServiceUser(t *testing.T) {
	t.Parallel()
	m, key := unansweredRotation(t)
	for range 2 { // another node with another clock
		m.Clock.Advance(7 * time.Hour)
		m.Restart()
		m.Tick()
		require.True(t, m.InQueue(key))
	}
	m.ModalCreatesLate(key)
}

func TestClock_FarAheadDoesNotKeepAnUnfinishedRevocation(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, Times: 1})
	_, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.Modal.ClearFaults()
	require.Len(t, m.List("revocations"), 1)
	m.Clock.Advance(40 * mounttest.Day)
	m.Tick()
	m.Clock.Advance(-40 * mounttest.Day)
	m.Restart()
	m.Minutes(40)
	require.Empty(t, m.List("revocations"))
}

func TestRevocation_ServiceUserCreatedByALateAttemptIsDeleted(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	_, err := m.Handle(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer"})
	require.Error(t, err)
	queued := m.List("revocations")
	require.Len(t, queued, 1, "the service user was deleted, and another attempt may still be under way")
	_, err = m.Workspace.CreateServiceUser(queued[0])
	require.NoError(t, err)
	m.Minutes(25)
	require.Empty(t, m.List("revocations"))
	require.Empty(t, m.Modal.ServiceUsers())
}

// A snapshot may be taken while a role creates a service user. After its restore an operator may bring the token of that
// service user to another role. The unfinished creation then must not end the token.
func TestRevocation_OfAnUnfinishedCreationSparesATokenThatAnotherRoleHas(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	m.AddManaged("ci")
	var c *mounttest.Mount
	m.Modal.OnCall(func(rpc string) {
		if rpc == "ServiceUserCreate" && c == nil {
			c = m.Clone() // the snapshot is taken here
		}
	})
	m.Write("rotate/ci", nil)
	m.Modal.OnCall(nil)
	got := m.Read("creds/ci")
	require.Len(t, c.List("revocations"), 1, "the unfinished creation")

	c.Write("roles/personal", map[string]any{"type": "static", "token_id": got["token_id"], "token_secret": got["token_secret"], "force": true})
	c.Minutes(15)

	require.True(t, c.Serves("personal"))
	require.Empty(t, c.List("revocations"))
}
