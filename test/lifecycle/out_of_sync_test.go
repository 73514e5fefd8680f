// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestOutOfSync_EndsOnlyAfterASuccessfulListOrByAnOperator(t *testing.T) {
	t.Parallel()
	for name, blind := range map[string]func(m, c *mounttest.Mount){
		"failed precondition": listAnswers(modaltest.Fault{Code: codes.FailedPrecondition, Message: "workspace is being moved", Times: -1}),
		"unimplemented":       listAnswers(modaltest.Fault{Code: codes.Unimplemented, Times: -1}),
		"no content type":     listAnswers(modaltest.Fault{NoContentType: true, Times: -1}),
		"forbidden":           listAnswers(modaltest.Fault{Code: codes.PermissionDenied, Times: -1}),
		"rejected":            listAnswers(modaltest.Fault{Code: codes.Unauthenticated, Times: -1}),
		"smaller plan":        func(m, _ *mounttest.Mount) { m.Workspace.SetServiceUsers(false) },
		"no admin token":      func(_, c *mounttest.Mount) { c.Write("config", map[string]any{"remove_admin_token": true}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewAllowingOrphans(t)
			m.AddManaged("ci", map[string]any{"grace_period": "1h"})
			m.AddRole("personal", map[string]any{"grace_period": "1h"})
			m.AddManaged("other")
			m.Clock.Advance(time.Hour)
			m.Write("rotate/ci", nil)
			m.Write("rotate/personal", m.NewToken())
			c := m.Clone()
			m.Write("rotate/ci", map[string]any{"to_previous": true}) // production returns to the older tokens
			m.Write("rotate/personal", map[string]any{"to_previous": true})
			m.Write("rotate/other", nil) // and creates a service user that the copy does not know
			c.Minutes(61)
			require.Equal(t, true, c.Read("status")["out_of_sync"])

			blind(m, c)
			c.Minutes(10)

			require.Equal(t, true, c.Read("status")["out_of_sync"])
			m.Workspace.SetServiceUsers(true)
			require.True(t, m.Serves("ci"))
			require.True(t, m.Serves("personal"))
		})
	}
}

func listAnswers(f modaltest.Fault) func(m, c *mounttest.Mount) {
	return func(m, _ *mounttest.Mount) { m.Modal.Inject("ServiceUserList", f) }
}

func TestOutOfSync_AcceptWithoutAListEndsItWithAWarning(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	m.AddManaged("ci")
	c := m.Clone()
	m.Write("rotate/ci", nil)
	c.Clock.Advance(time.Hour)
	c.Tick()
	require.Equal(t, true, c.Read("status")["out_of_sync"])
	c.Write("config", map[string]any{"remove_admin_token": true})
	require.Contains(t, c.Refused(logical.ListOperation, "orphans", nil), "admin token")
	require.Contains(t, c.Refused(logical.UpdateOperation, "orphans", map[string]any{"dry_run": false}), "admin token")

	resp := c.Write("orphans", map[string]any{"accept": true})

	require.Equal(t, false, resp.Data["out_of_sync"])
	require.Contains(t, strings.Join(resp.Warnings, " "), "nothing was compared")
	c.Minutes(3)
	require.Equal(t, false, c.Read("status")["out_of_sync"])
}

func TestOutOfSync_IsFoundAfterAStartWithNothingDue(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	m.AddManaged("ci")
	c := m.Clone()
	m.Write("rotate/ci", nil)
	require.NotContains(t, c.Read("status"), "last_compared_at", "nothing was compared")
	c.Tick()
	require.Equal(t, m.Clock.Now().Format(time.RFC3339), c.Read("status")["last_compared_at"])
	require.Equal(t, false, c.Read("status")["out_of_sync"], "the orphan is too new to judge")
	c.Minutes(11)
	require.Equal(t, true, c.Read("status")["out_of_sync"])
	m.Minutes(3)
	lists := len(m.Modal.Calls("ServiceUserList"))
	m.Minutes(10)
	require.Len(t, m.Modal.Calls("ServiceUserList"), lists, "a mount that is in sync compares again when something is due")
}

func TestOutOfSync_IsNotRaisedByALaggingList(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor", "ttl": "1h", "max_ttl": "2h"})
	m.LagList(90 * time.Second)
	var leases []*logical.Secret
	for range 10 {
		leases = append(leases, vaultLease(t, m, m.Must(logical.ReadOperation, "creds/job", nil)))
	}
	m.Clock.Advance(20 * time.Minute)
	for i, lease := range leases {
		_, err := m.LeaseRequest(logical.RevokeOperation, lease)
		require.NoError(t, err)
		m.Clock.Advance(30 * time.Second)
		if i%2 == 1 {
			m.Tick()
		}
	}
	require.NotContains(t, m.EventTypes(), "modal/out-of-sync")
	require.Empty(t, m.Modal.ServiceUsers())
}

func TestOutOfSync_IsNotRaisedByAListThatShowsAReplacedTokenForNineMinutes(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.AddManaged("other", map[string]any{"grace_period": "65m"})
	m.Clock.Advance(time.Hour)
	m.LagList(9 * time.Minute)
	m.Write("rotate/ci", nil)
	m.Write("rotate/other", nil) // due when the list still shows the first token
	m.Minutes(80)
	require.Empty(t, m.List("revocations"))
	require.NotContains(t, m.EventTypes(), "modal/out-of-sync")
}

func TestOutOfSync_IsFoundInASnapshotTakenDuringACreation(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]func(m *mounttest.Mount) map[string]any{
		"a rotation": func(m *mounttest.Mount) map[string]any {
			m.Write("rotate/ci", nil)
			return m.Read("creds/ci")
		},
		"a lease": func(m *mounttest.Mount) map[string]any { return m.Must(logical.ReadOperation, "creds/job", nil).Data },
	} {
		for _, at := range []string{"ServiceUserCreate", "ServiceUserInfo"} { // before the token arrives, and after
			t.Run(name+" at "+at, func(t *testing.T) {
				t.Parallel()
				m := mounttest.NewAllowingOrphans(t)
				m.AddManaged("ci")
				m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
				m.Clock.Advance(time.Hour)
				var c *mounttest.Mount
				m.Modal.OnCall(func(rpc string) {
					if rpc == at && c == nil {
						c = m.Clone() // the snapshot is taken here
					}
				})
				got := create(m)
				m.Modal.OnCall(nil)
				for range 30 {
					m.Clock.Advance(time.Minute)
					require.True(t, m.Modal.Use(mounttest.TextIn(got, "token_id"), mounttest.TextIn(got, "token_secret")), "the copy deleted a token that is in use")
					m.Tick()
					c.Tick()
				}
				require.Equal(t, true, c.Read("status")["out_of_sync"])
				orphans := c.List("orphans")
				require.Len(t, orphans, 1)

				resp := c.Write("orphans", map[string]any{"accept": true})

				require.Equal(t, orphans, resp.Data["names"])
				info, _ := c.Must(logical.ListOperation, "orphans", nil).Data["key_info"].(map[string]any)[orphans[0]].(map[string]any)
				require.Equal(t, true, info["accepted"])
				c.Minutes(30)
				require.Equal(t, false, c.Read("status")["out_of_sync"])
				require.True(t, m.Modal.Accepts(mounttest.TextIn(got, "token_id"), mounttest.TextIn(got, "token_secret")))
				require.NotContains(t, c.List("revocations"), orphans[0])
			})
		}
	}
}

func TestOrphans_AreListedWithTheirAge(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	_, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.Clock.Advance(3 * time.Minute)
	resp := m.Must(logical.ListOperation, "orphans", nil)
	require.Equal(t, []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}, resp.Data["keys"])
	info, _ := resp.Data["key_info"].(map[string]any)["vault-2f9f1a7c-gpu-aaaaaaaa"].(map[string]any)
	require.Equal(t, int64(180), info["age"])
}

func TestOutOfSync_IsNotRaisedByTheEnginesOwnUseOfAToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.OnCall(func(rpc string) {
		if rpc == "EnvironmentRoleSet" {
			m.Storage.Die()
		}
	})
	_, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.Modal.OnCall(nil)
	m.Restart()
	m.Clock.Advance(5 * time.Minute)
	candidate := m.List("revocations")[0]
	m.Refused(logical.DeleteOperation, "revocations/"+candidate, nil)
	m.Minutes(10)
	require.NotContains(t, m.EventTypes(), "modal/out-of-sync")
	require.Empty(t, m.List("revocations"))
}

// After a crash the unfinished creation of a token may stay in the queue while the token becomes current, and is
// replaced.
func TestOutOfSync_IsNotRaisedByAPreviousTokenThatConsumersUse(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Storage.Plan(mounttest.Cut{At: 5, Committed: true, Deadly: true}) // all but the removal of the unfinished creation
	_, err := m.Handle(logical.CreateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=contributor", "grace_period": "1h"})
	require.Error(t, err)
	m.Storage.Heal()
	m.Restart()
	got := m.Read("creds/ci")
	require.Len(t, m.List("revocations"), 1, "the unfinished creation")
	m.Clock.Advance(5 * time.Minute)
	require.True(t, m.Modal.Use(mounttest.TextIn(got, "token_id"), mounttest.TextIn(got, "token_secret")))
	require.Empty(t, m.List("orphans"), "the current token is no orphan")
	m.Write("rotate/ci", nil)
	m.Clock.Advance(11 * time.Minute)
	require.True(t, m.Modal.Use(mounttest.TextIn(got, "token_id"), mounttest.TextIn(got, "token_secret")))

	m.Minutes(2)

	require.NotContains(t, m.EventTypes(), "modal/out-of-sync")
	require.Equal(t, []string{mounttest.TextIn(got, "token_id")}, m.List("revocations"))
}

func TestOutOfSync_IsShownByANodeThatOnlyReads(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	other := &mounttest.Mount{}
	*other = *m
	other.Restart()
	require.Equal(t, false, other.Read("status")["out_of_sync"])
	prefix := mounttest.TextIn(m.Read("config"), "service_user_prefix")
	_, err := m.Workspace.CreateServiceUser(prefix + "job-aaaaaaaa")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	before := m.Storage.Snapshot(t)
	m.Tick()

	for key, value := range m.Storage.Snapshot(t) {
		if before[key] != value {
			other.InvalidateKey(t.Context(), key)
		}
	}

	require.Equal(t, true, other.Read("status")["out_of_sync"])
	m.Write("orphans", map[string]any{"dry_run": false})
}

func TestOutOfSync_NothingIsComparedWithoutAList(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t) // without an admin token
	m.AddRole("ci")
	m.Write("rotate/ci", m.NewToken())

	m.Minutes(3)

	require.NotContains(t, m.Read("status"), "last_compared_at")
}

// usedCandidate returns a mount that is out of sync: somebody uses the service user of an unfinished creation.
func usedCandidate(t *testing.T) (m *mounttest.Mount, old, name string, candidate modaltest.Token) {
	t.Helper()
	m = mounttest.NewAllowingOrphans(t)
	old = m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	m.Modal.Inject("ServiceUserCreate", unanswered(false, -1))
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))
	m.Modal.ClearFaults()
	for _, key := range m.List("revocations") {
		if key != old {
			name = key
		}
	}
	candidate, err := m.Workspace.CreateServiceUser(name)
	require.NoError(t, err)
	m.Clock.Advance(9 * time.Minute)
	require.True(t, m.Modal.Use(candidate.ID, candidate.Secret))
	m.Clock.Advance(9 * time.Minute)
	m.Tick()
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	return m, old, name, candidate
}

func TestOrphans_AFailedAcceptDeletesNothingAndCanBeRepeated(t *testing.T) {
	t.Parallel()
	for name, blind := range map[string]bool{"with a list": false, "without a list": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at, reached := 1, true; reached; at++ {
				for _, committed := range []bool{false, true} {
					m, old, user, candidate := usedCandidate(t)
					if blind {
						m.Modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
					}
					m.Storage.Plan(mounttest.Cut{At: at, Committed: committed})
					err := m.Try(logical.UpdateOperation, "orphans", map[string]any{"accept": true})
					reached = m.Storage.WasCut()
					accepts := 0
					for _, write := range m.Storage.Recorded() {
						if write == "put orphans" {
							accepts++
						}
					}
					require.Equal(t, reached && accepts < 2, err != nil, "write %d of %v", at, m.Storage.Recorded())
					m.Storage.Heal()
					m.Modal.ClearFaults()

					m.Minutes(2 * 60)

					require.True(t, m.Modal.Accepts(candidate.ID, candidate.Secret), "write %d: somebody uses the token", at)
					if err != nil && !committed {
						require.Equal(t, true, m.Read("status")["out_of_sync"])
						require.True(t, m.Knows(old))
					}
					m.Write("orphans", map[string]any{"accept": true})
					m.Minutes(6 * 60)
					require.Equal(t, false, m.Read("status")["out_of_sync"])
					require.False(t, m.Knows(old))
					require.False(t, m.InQueue(user))
					require.True(t, m.Modal.Accepts(candidate.ID, candidate.Secret), "write %d: the operator keeps it", at)
				}
			}
		})
	}
}

func TestOutOfSync_AManualTokenThatAPersonDeletedLeavesTheQueue(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddRole("ci", map[string]any{"revoke_previous": false, "grace_period": "1h"})
	m.Write("rotate/ci", m.NewToken())
	m.Workspace.AddServiceUser("vault-2f9f1a7c-lost-abcdefgh")
	m.Minutes(2 * 60)
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	require.True(t, m.InQueue(old))

	m.Modal.DeleteToken(old)
	m.Clock.Advance(mounttest.MaxBackOff)
	m.Minutes(1)

	require.False(t, m.InQueue(old), "the check deletes nothing")
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	m.Write("orphans", map[string]any{"dry_run": false})
}

func TestOutOfSync_AnOperatorEndsWhatIsDueWithoutForce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	m.Workspace.AddServiceUser("vault-2f9f1a7c-lost-abcdefgh")
	m.Minutes(2 * 60)
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	require.True(t, m.Knows(old))

	require.Equal(t, true, m.Write("revocations/"+old, nil).Data["revoked"])

	require.False(t, m.Knows(old))
	m.Write("orphans", map[string]any{"dry_run": false})
}
