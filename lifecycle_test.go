// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file need several operations in a row.

func TestRevocation_DeletesByIDWhileModalDoesNotKnowTheName(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Message: "no"})
	m.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.NotFound, Message: "not yet", Times: 2})
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.modal.ClearFaults()
	require.Len(t, m.modal.ServiceUsers(), 1)
}

func TestRevocations_ForgettingNeedsAnAdminTokenOfTheWorkspace(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	m.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.modal.ClearFaults()
	names := m.list("revocations")
	require.Len(t, names, 1)
	m.write("config", also(tokenData(m.modal.AddWorkspace("globex").AddMember("eve").NewToken()), "force", true))
	require.Contains(t, m.refused(logical.DeleteOperation, "revocations/"+names[0], nil), `of workspace "acme" to config`)
	require.True(t, m.inQueue(names[0]))
}

func TestRevocation_AsksOnlyTheServerOfItsToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	old := m.addRole("ci", map[string]any{"revoke_previous": false})
	m.write("rotate/ci", also(m.newToken(), "grace_period", 0))
	other := modaltest.Start(t, modaltest.WithClock(m.clock.now))
	m.write("config", map[string]any{"server_url": other.URL()})
	m.tick()
	require.Contains(t, m.read("revocations/" + old)["last_error"], "still accepts")
	m.modal.DeleteToken(old)
	m.clock.advance(maxBackOff)
	m.tick()
	require.False(t, m.inQueue(old))
	require.Empty(t, other.Calls(""), "the old secret reaches no other server")
}

func TestRevocations_RefusedForgetChangesNothing(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", nil)
	before := m.read("revocations/" + old)
	require.Contains(t, m.refused(logical.DeleteOperation, "revocations/"+old, nil), "force=true")
	require.Equal(t, before, m.read("revocations/"+old))
}

func TestRevocations_ExpiredTokenIsKeptWhileItsServiceUserExists(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"token_ttl": "1h", "grace_period": "10h"})
	m.clock.advance(50 * time.Minute)
	m.write("rotate/ci", nil)
	m.clock.advance(11 * time.Minute)
	require.Contains(t, m.refused(logical.DeleteOperation, "revocations/"+old, nil), "still exists")
	m.tick()
	require.False(t, m.inQueue(old))
	require.Len(t, m.modal.ServiceUsers(), 1)
}

func TestConfig_SameAdminTokenIsVerifiedAgainAfterAPlanChange(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.workspace.SetServiceUsers(false)
	admin := m.newToken()
	m.write("config", admin)
	require.Equal(t, false, m.read("config")["manages_service_users"])
	m.workspace.SetServiceUsers(true)
	m.write("config", admin)
	require.Equal(t, true, m.read("config")["manages_service_users"])
}

func TestSchedule_HalfWrittenDisableDoesNotFreezeTheRole(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "1h"})
	m.storage.heal()
	m.storage.plan(cut{at: 2})
	_, err := m.handle(logical.UpdateOperation, "roles/ci", map[string]any{"disable_automated_rotation": true})
	require.ErrorIs(t, err, errCut)
	m.restart()
	require.Equal(t, false, m.read("roles/ci")["disable_automated_rotation"])
	m.clock.advance(11 * time.Hour)
	m.tick()
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
}

func TestEnvironmentRoles_ChangeWithALostAnswerIsRolledBack(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	m.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true, Times: 4})
	_, text := m.failedAndStored("roles/ci", map[string]any{"environment_roles": "main=contributor"})
	require.Contains(t, text, "keeps its old environment roles")
	m.modal.ClearFaults()
	require.Equal(t, "viewer", m.serviceUser(id).Roles["main"])
}

func TestRevocation_SlowTokensDoNotDelayTheOthers(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("config", map[string]any{"request_timeout": "2m"})
	slow := map[string]bool{}
	for _, name := range []string{"a", "b", "c", "d"} {
		slow[m.addManaged(name)] = true
		m.write("rotate/"+name, map[string]any{"grace_period": 0})
		m.clock.advance(time.Second)
	}
	old := m.addManaged("z")
	m.write("rotate/z", map[string]any{"grace_period": 0})
	m.modal.Inject("TokenInfoGet", modaltest.Fault{Delay: time.Hour, Times: -1, Match: func(c modaltest.Call) bool { return slow[c.TokenID] }})
	for tries := 0; tries < 6 && m.inQueue(old); tries++ { // the second try suffices unless the machine is busy
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, _ = m.HandleRequest(ctx, &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage, Data: map[string]any{}})
		cancel()
	}
	require.False(t, m.inQueue(old))
}

func TestManaged_ExpiryIsKnownEvenIfTheCreateAnswerLacksIt(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.modal.Inject("ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) { a.ClearExpiresAt() })(m))
	m.addManaged("ci", map[string]any{"token_ttl": "1h"})
	require.Equal(t, start.Add(time.Hour).Format(time.RFC3339), m.read("creds/ci")["expires_at"])
}

func TestSchedule_RemovalRemovesTheWindowToo(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"rotation_schedule": "0 3 * * *", "rotation_window": "1h"})
	m.write("roles/ci", map[string]any{"rotation_schedule": ""})
	require.NotContains(t, m.read("roles/ci"), "rotation_window")
}

func TestRevocation_CompletesForATokenThatAnOperatorDeleted(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	m.write("config", map[string]any{"remove_admin_token": true})
	m.tick()
	require.True(t, m.inQueue(old))
	m.modal.DeleteToken(old)
	m.clock.advance(maxBackOff)
	m.tick()
	require.False(t, m.inQueue(old))
}

// inQueue reports whether the revocation queue contains an ID.
func (m *mount) inQueue(id string) bool {
	m.t.Helper()
	return slices.Contains(m.list("revocations"), id)
}

func TestRevocation_RejectionOfANeverAcceptedSecretIsNoProof(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	mistyped := also(m.newToken(), "token_secret", someSecret, "type", "static", "verify", false)
	m.write("roles/ci", mistyped)
	m.write("rotate/ci", also(m.newToken(), "grace_period", 0, "force", true))
	m.tick()
	id := mistyped["token_id"].(string)
	require.Contains(t, m.read("revocations/" + id)["last_error"], "proves nothing")
	require.NotContains(t, m.eventTypes(), "modal/revoke")
	m.remove("revocations/"+id, map[string]any{"force": true})
	require.False(t, m.inQueue(id))
}

func TestWrites_EmptyVerifyMeansTheDefault(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	for _, empty := range []any{"", nil} {
		for path, more := range map[string]map[string]any{"roles/new": {"type": "static"}, "rotate/ci": {}, "config": {}} {
			require.Contains(t, m.refused(logical.UpdateOperation, path, also(more, "token_id", someID, "token_secret", someSecret, "verify", empty)), someID)
		}
	}
}

func TestRoles_NameThatStorageRefusesIsAUserError(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/a..b", also(m.newToken(), "type", "static")), `".."`)
}

func TestEvents_SayWhetherSomethingWasModified(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	for _, sent := range m.events.Events {
		if kind := string(sent.Type); kind == "modal/role-write" || kind == "modal/config-write" {
			require.Equal(t, "true", sent.Event.GetMetadata().GetFields()["modified"].GetStringValue(), kind)
		}
	}
	before := len(m.events.Events)
	m.write("roles/ci", map[string]any{"environment": ""})
	require.Len(t, m.events.Events, before, "the write changed nothing")
}

func TestDryRun_WithTheCurrentTokenShowsWhatTheWriteWouldDo(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	current := m.newToken()
	m.write("roles/ci", also(current, "type", "static"))
	plan := m.write("rotate/ci", also(current, "dry_run", true)).Data
	require.Equal(t, "1. nothing: token "+current["token_id"].(string)+" is already the role's current token", plan["plan"])
	require.NotContains(t, plan, "problems")
	plan = m.write("rotate/ci", also(current, "token_secret", someSecret, "dry_run", true)).Data
	require.NotContains(t, plan["plan"], "2. ")
	require.Contains(t, plan["problems"], "1. Modal rejected token")
	require.NotContains(t, plan["problems"], "nothing was changed", "a dry run changes nothing anyway")
}

func TestEnvironmentRoles_ChangeThatModalRefusesChangesNothing(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	m.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Message: "no", Times: -1})
	_, said := m.failed(logical.UpdateOperation, "roles/ci", map[string]any{"environment_roles": "main=contributor"})
	require.Contains(t, said, "keeps its old environment roles")
}

func TestConfig_WriteWithoutATokenDoesNotVerifyTheAdminToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.workspace.SetServiceUsers(false)
	m.write("config", m.newToken())
	m.modal.SetOutage(true)
	m.write("config", map[string]any{"request_timeout": "1s"})
	require.Equal(t, true, m.read("config")["verified"])
}
