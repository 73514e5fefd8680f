// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file need several operations in a row.

func TestRevocation_DeletesByIDWhileModalDoesNotKnowTheName(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Message: "no"})
	m.Modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.NotFound, Message: "not yet", Times: 2})
	_, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.Modal.ClearFaults()
	require.Len(t, m.Modal.ServiceUsers(), 1)
}

func TestRevocations_ForgettingNeedsAnAdminTokenOfTheWorkspace(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	m.Modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	_, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.Modal.ClearFaults()
	names := m.List("revocations")
	require.Len(t, names, 1)
	m.Write("config", mounttest.Also(mounttest.TokenData(m.Modal.AddWorkspace("globex").AddMember("eve").NewToken()), "force", true))
	require.Contains(t, m.Refused(logical.DeleteOperation, "revocations/"+names[0], nil), `of workspace "acme" to config`)
	require.True(t, m.InQueue(names[0]))
}

func TestRevocation_AsksOnlyTheServerOfItsToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"revoke_previous": false})
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "grace_period", 0))
	other := modaltest.Start(t, modaltest.WithClock(m.Clock.Now))
	m.Write("config", map[string]any{"server_url": other.URL()})
	m.Tick()
	require.Contains(t, m.Read("revocations/" + old)["last_error"], "still accepts")
	m.Modal.DeleteToken(old)
	m.Clock.Advance(mounttest.MaxBackOff)
	m.Tick()
	require.False(t, m.InQueue(old))
	require.Empty(t, other.Calls(""), "the old secret reaches no other server")
}

func TestRevocations_RefusedForgetChangesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	before := m.Read("revocations/" + old)
	require.Contains(t, m.Refused(logical.DeleteOperation, "revocations/"+old, nil), "force=true")
	require.Equal(t, before, m.Read("revocations/"+old))
}

func TestRevocations_ExpiredTokenIsKeptWhileItsServiceUserExists(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"token_ttl": "1h", "grace_period": "10h"})
	m.Clock.Advance(50 * time.Minute)
	m.Write("rotate/ci", nil)
	m.Clock.Advance(11 * time.Minute)
	require.Contains(t, m.Refused(logical.DeleteOperation, "revocations/"+old, nil), "still exists")
	m.Tick()
	require.False(t, m.InQueue(old))
	require.Len(t, m.Modal.ServiceUsers(), 1)
}

func TestConfig_SameAdminTokenIsVerifiedAgainAfterAPlanChange(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Workspace.SetServiceUsers(false)
	admin := m.NewToken()
	m.Write("config", admin)
	require.Equal(t, false, m.Read("config")["manages_service_users"])
	m.Workspace.SetServiceUsers(true)
	m.Write("config", admin)
	require.Equal(t, true, m.Read("config")["manages_service_users"])
}

func TestSchedule_HalfWrittenDisableDoesNotFreezeTheRole(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
	m.Storage.Heal()
	m.Storage.Plan(mounttest.Cut{At: 2})
	_, err := m.Handle(logical.UpdateOperation, "roles/ci", map[string]any{"disable_automated_rotation": true})
	require.ErrorIs(t, err, mounttest.ErrCut)
	m.Restart()
	require.Equal(t, false, m.Read("roles/ci")["disable_automated_rotation"])
	m.Clock.Advance(11 * time.Hour)
	m.Tick()
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
}

func TestEnvironmentRoles_ChangeWithALostAnswerIsRolledBack(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true, Times: 4})
	_, text := failedAndStored(m, "roles/ci", map[string]any{"environment_roles": "main=contributor"})
	require.Contains(t, text, "keeps its old environment roles")
	m.Modal.ClearFaults()
	require.Equal(t, "viewer", m.ServiceUser(id).Roles["main"])
}

func TestRevocation_SlowTokensDoNotDelayTheOthers(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("config", map[string]any{"request_timeout": "2m"})
	slow := map[string]bool{}
	for _, name := range []string{"a", "b", "c", "d"} {
		slow[m.AddManaged(name)] = true
		m.Write("rotate/"+name, map[string]any{"grace_period": 0})
		m.Clock.Advance(time.Second)
	}
	old := m.AddManaged("z")
	m.Write("rotate/z", map[string]any{"grace_period": 0})
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{Delay: time.Hour, Times: -1, Match: func(c modaltest.Call) bool { return slow[c.TokenID] }})
	for wait := time.Second; wait < time.Minute && m.InQueue(old); wait *= 2 { // the second try suffices unless the machine is busy
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, _ = m.HandleRequest(ctx, &logical.Request{Operation: logical.RollbackOperation, Storage: m.Storage, Data: map[string]any{}})
		cancel()
	}
	require.False(t, m.InQueue(old))
}

func TestManaged_ExpiryIsKnownEvenIfTheCreateAnswerLacksIt(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Modal.Inject("ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) { a.ClearExpiresAt() })(m))
	m.AddManaged("ci", map[string]any{"token_ttl": "1h"})
	require.Equal(t, mounttest.StartTime.Add(time.Hour).Format(time.RFC3339), m.Read("creds/ci")["expires_at"])
}

func TestSchedule_RemovalRemovesTheWindowToo(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_schedule": "0 3 * * *", "rotation_window": "1h"})
	m.Write("roles/ci", map[string]any{"rotation_schedule": ""})
	require.NotContains(t, m.Read("roles/ci"), "rotation_window")
}

func TestRevocation_CompletesForATokenThatAnOperatorDeleted(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	m.Write("config", map[string]any{"remove_admin_token": true})
	m.Tick()
	require.True(t, m.InQueue(old))
	m.Modal.DeleteToken(old)
	m.Clock.Advance(mounttest.MaxBackOff)
	m.Tick()
	require.False(t, m.InQueue(old))
}

func TestRevocation_RejectionOfANeverAcceptedSecretIsNoProof(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	mistyped := mounttest.Also(m.NewToken(), "token_secret", mounttest.SomeSecret, "type", "static", "verify", false)
	m.Write("roles/ci", mistyped)
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "grace_period", 0, "force", true))
	m.Tick()
	id := mistyped["token_id"].(string)
	require.Contains(t, m.Read("revocations/" + id)["last_error"], "proves nothing")
	require.NotContains(t, m.EventTypes(), "modal/revoke")

	require.NotEqual(t, true, m.Write("revocations/"+id, withForce).Data["revoked"], "an order is no proof either")
	m.Minutes(3 * 60)
	require.True(t, m.InQueue(id), "nor is a second rejection an hour later")
	require.Contains(t, m.Read("revocations/" + id)["last_error"], "proves nothing")
	require.NotContains(t, m.EventTypes(), "modal/revoke")

	m.Remove("revocations/"+id, withForce)
	require.False(t, m.InQueue(id))
}

func TestWrites_EmptyVerifyMeansTheDefault(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	for _, empty := range []any{"", nil} {
		for path, more := range map[string]map[string]any{"roles/new": {"type": "static"}, "rotate/ci": {}, "config": {}} {
			require.Contains(t, m.Refused(logical.UpdateOperation, path, mounttest.Also(more, "token_id", mounttest.SomeID, "token_secret", mounttest.SomeSecret, "verify", empty)), mounttest.SomeID)
		}
	}
}

func TestRoles_NameThatStorageRefusesIsAUserError(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/a..b", mounttest.Also(m.NewToken(), "type", "static")), `".."`)
}

func TestEvents_NameTheOperationOfTheirRequest(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"grace_period": "0", "rotation_period": "1h", "refresh_interval": "5m"})
	m.Write("rotate/ci", nil)
	m.Tick()
	m.Remove("roles/ci", nil)
	operationOf := func(kind string) any { return m.EventsOf(kind)[0]["operation"] }
	require.Equal(t, "create", operationOf("modal/role-write"))
	require.Equal(t, "update", operationOf("modal/rotate"))
	require.Equal(t, "delete", operationOf("modal/role-delete"))
	require.Nil(t, operationOf("modal/revoke"), "the worker had no request")
}

func TestEvents_SayWhetherSomethingWasModified(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	for _, sent := range m.Events.Events {
		if kind := string(sent.Type); kind == "modal/role-write" || kind == "modal/config-write" {
			require.Equal(t, "true", sent.Event.GetMetadata().GetFields()["modified"].GetStringValue(), kind)
		}
	}
	before := len(m.Events.Events)
	m.Write("roles/ci", map[string]any{"environment": ""})
	require.Len(t, m.Events.Events, before, "the write changed nothing")
}

func TestDryRun_WithTheCurrentTokenShowsWhatTheWriteWouldDo(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	current := m.NewToken()
	m.Write("roles/ci", mounttest.Also(current, "type", "static"))
	plan := m.Write("rotate/ci", mounttest.Also(current, "dry_run", true)).Data
	require.Equal(t, "1. nothing: token "+current["token_id"].(string)+" is already the role's current token", plan["plan"])
	require.NotContains(t, plan, "problems")
	plan = m.Write("rotate/ci", mounttest.Also(current, "token_secret", mounttest.SomeSecret, "dry_run", true)).Data
	require.NotContains(t, plan["plan"], "2. ")
	require.Contains(t, plan["problems"], "1. Modal rejected token")
	require.NotContains(t, plan["problems"], "nothing was changed", "a dry run changes nothing anyway")
}

func TestEnvironmentRoles_ChangeThatModalRefusesChangesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Message: "no", Times: -1})
	_, said := m.Failed(logical.UpdateOperation, "roles/ci", map[string]any{"environment_roles": "main=contributor"})
	require.Contains(t, said, "keeps its old environment roles")
}

func TestConfig_WriteWithoutATokenDoesNotVerifyTheAdminToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Workspace.SetServiceUsers(false)
	m.Write("config", m.NewToken())
	m.Modal.SetOutage(true)
	m.Write("config", map[string]any{"request_timeout": "1s"})
	require.Equal(t, true, m.Read("config")["verified"])
}
