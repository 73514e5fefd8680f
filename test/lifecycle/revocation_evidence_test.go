// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file check which answers of Modal prove that a token is gone.

// deleteFails stops the engine from deleting service users. Calls with their tokens still work.
var deleteFails = modaltest.Fault{Code: codes.PermissionDenied, Message: "only owners and managers", Times: -1}

// failedRotation makes a rotation fail and returns the ID of the revocation that tracks the new service user.
func failedRotation(t *testing.T) (m *mounttest.Mount, name string) {
	t.Helper()
	m = mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	m.Modal.Inject("ServiceUserDelete", deleteFails)
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))
	m.Modal.ClearFaults()
	require.Len(t, m.List("revocations"), 1)
	return m, m.List("revocations")[0]
}

// unansweredRotation makes a rotation fail without an answer from Modal, so that the service user may still
// appear. The key is the ID of the revocation that tracks the new service user.
func unansweredRotation(t *testing.T) (m *mounttest.Mount, key string) {
	t.Helper()
	m = mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.Inject("ServiceUserCreate", unanswered(false, -1))
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))
	m.Modal.ClearFaults()
	return m, m.List("revocations")[0]
}

func TestRevocation_NotFoundSoonAfterACreationIsNoProof(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(m *mounttest.Mount, name string){
		"a retry": func(m *mounttest.Mount, name string) {
			require.Equal(m.T, false, m.Write("revocations/"+name, nil).Data["revoked"])
		},
		"a retry with force": func(m *mounttest.Mount, name string) { m.Write("revocations/"+name, map[string]any{"force": true}) },
		"an operator forgets": func(m *mounttest.Mount, name string) {
			require.Contains(m.T, m.Refused(logical.DeleteOperation, "revocations/"+name, nil), "may still be creating it")
		},
		"the worker": func(m *mounttest.Mount, _ string) { m.Minutes(9) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, key := unansweredRotation(t)

			ask(m, key)

			require.True(t, m.InQueue(key))
			m.ModalCreatesLate(key)
		})
	}
}

func TestRotate_TracksAServiceUserWhoseCreationAGatewayHid(t *testing.T) {
	t.Parallel()
	for _, answer := range []modaltest.Fault{
		{HTTPStatus: 520, NoContentType: true}, {HTTPStatus: 401, NoContentType: true}, {HTTPStatus: 403}, {HTTPStatus: 404}, {HTTPStatus: 409}, {HTTPStatus: 502},
	} {
		t.Run(strconv.Itoa(answer.HTTPStatus), func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.AddManaged("ci")
			answer.AfterCommit = true
			m.Modal.Inject("ServiceUserCreate", answer)

			resp, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)

			require.Error(t, err)
			require.Contains(t, err.Error()+mounttest.ErrorText(resp), "HTTP "+strconv.Itoa(answer.HTTPStatus))
			require.Empty(t, m.Modal.Orphans(m.TrackedServiceUsers()), "a revocation tracks the service user that Modal created")
			m.Clock.Advance(time.Hour)
			m.Write("rotate/ci", map[string]any{"grace_period": "0s"})
			m.Minutes(22)
			require.Equal(t, false, m.Read("status")["out_of_sync"])
			require.Empty(t, m.List("revocations"))
			require.Len(t, m.Modal.ServiceUsers(), 1)
		})
	}
}

func TestRevocation_OfAnUnfinishedTokenWaitsUntilModalRejectsIt(t *testing.T) {
	t.Parallel()
	m, name := failedRotation(t)
	entry := m.Read("revocations/" + name)
	id, _ := entry["token_id"].(string)
	require.NotEmpty(t, id)
	require.NotEmpty(t, entry["identity_id"])
	m.Modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.NotFound, Message: "not by this name", Times: -1})
	m.Modal.KeepDeletedFor(5 * time.Minute)
	m.Minutes(3)
	require.Equal(t, "unconfirmed", m.Read("revocations/" + name)["state"], "Modal still accepts the token")
	m.Minutes(20)
	require.False(t, m.InQueue(name))
	require.False(t, m.Knows(id))
}

func TestRevocation_CompletesWhereModalLacksServiceUserInfo(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unimplemented, Times: -1})
	m.Modal.Inject("ServiceUserCreate", unanswered(true, 1))
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))
	m.Modal.Inject("ServiceUserCreate", unanswered(false, 1))
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))
	m.Minutes(22)
	require.Empty(t, m.List("revocations"))
	require.Len(t, m.Modal.ServiceUsers(), 1)
}

func TestRevocation_CompletesOnceModalRejectsATokenItHadAccepted(t *testing.T) {
	t.Parallel()
	for name, cannot := range map[string]func(m *mounttest.Mount){
		"the admin may not delete": func(m *mounttest.Mount) { m.Modal.Inject("ServiceUserDelete", deleteFails) },
		"there is no admin token":  func(m *mounttest.Mount) { m.Write("config", map[string]any{"remove_admin_token": true}) },
		"the admin token is of another workspace": func(m *mounttest.Mount) {
			m.Write("config", mounttest.Also(mounttest.TokenData(m.Modal.AddWorkspace("globex").AddMember("eve").NewToken()), "force", true))
		},
		"the admin token is rejected": func(m *mounttest.Mount) {
			m.Modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unauthenticated, Times: -1})
		},
		"the role's current token is rejected": func(m *mounttest.Mount) { m.Modal.DeleteToken(m.TokenID("ci")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci", map[string]any{"disable_automated_rotation": true})
			m.Write("rotate/ci", map[string]any{"grace_period": 0})
			cannot(m)
			m.Tick()
			require.True(t, m.InQueue(old))
			require.NotContains(t, m.EventTypes(), "modal/revoke")

			m.Modal.DeleteToken(old)

			m.Minutes(10)
			require.False(t, m.InQueue(old))
			require.Contains(t, m.EventTypes(), "modal/revoke")
		})
	}
}

func TestRevocation_CompletesForAnUnfinishedTokenDeletedByAnOperator(t *testing.T) {
	t.Parallel()
	m, name := failedRotation(t)
	id, _ := m.Read("revocations/" + name)["token_id"].(string)
	m.Write("config", map[string]any{"remove_admin_token": true})
	m.Minutes(11)
	require.True(t, m.InQueue(name))
	m.Modal.DeleteToken(id)
	m.Clock.Advance(mounttest.MaxBackOff)
	m.Minutes(11)
	require.False(t, m.InQueue(name), "Modal created this token, so a rejection is proof")
}

func TestRevocation_CompletesForATokenThatTheWorkerSawAccepted(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.Also(m.NewToken(), "type", "static", "verify", false)
	m.Write("roles/ci", token)
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true, "grace_period", 0))
	id := mounttest.TextIn(token, "token_id")
	m.Tick()
	require.Equal(t, true, m.Read("revocations/" + id)["verified"])
	m.Restart()
	m.Modal.DeleteToken(id)
	m.Minutes(5)
	require.False(t, m.InQueue(id))
}

func TestRotate_RetriesWhileModalDoesNotKnowTheNewServiceUser(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.NotFound, Message: "no such service user", Times: 2})
	m.Write("rotate/ci", nil)
	require.NotEqual(t, old, m.TokenID("ci"))
	require.Equal(t, "contributor", m.ServiceUser(m.TokenID("ci")).Roles["main"])
}

func TestAdminToken_IsNotMarkedLimitedAfterAnAbortedCall(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.Aborted, Message: "try again", Times: -1})
	require.Error(t, m.Try(logical.UpdateOperation, "config", m.NewToken()))
	m.Modal.ClearFaults()
	m.Write("config", m.NewToken())
	require.Equal(t, true, m.Read("config")["manages_service_users"])
}

func TestRevocation_ATokenOfAnotherServerIsNoWitness(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"revoke_previous": false, "grace_period": "1h"})
	m.Write("rotate/ci", m.NewToken())
	other := modaltest.Start(t, modaltest.WithClock(m.Clock.Now))
	m.ChangeRevocation(old, func(r *model.Revocation) { r.ServerURL = other.URL() })

	m.Minutes(62)

	require.True(t, m.InQueue(old), "the current token shows nothing about the server that rejected the old token")
	require.Equal(t, "unconfirmed", m.Revocation(old, "state"))
}

func TestRevocation_ATokenOfAnotherWorkspaceIsNoWitness(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"revoke_previous": false, "grace_period": "1h"})
	m.Write("rotate/ci", m.NewToken())
	m.Modal.DeleteToken(old)
	m.ChangeRevocation(old, func(r *model.Revocation) { r.WorkspaceID = "ac-0123456789abcdefghijkl" })

	m.Minutes(62)

	require.True(t, m.InQueue(old), "the current token shows nothing about the workspace of the old token")
	require.Equal(t, "unconfirmed", m.Revocation(old, "state"))
}

func TestRevocation_TheSamePersonsTokenTellsOfADisabledToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t) // without an admin token
	old := m.AddRole("ci", map[string]any{"revoke_previous": false, "grace_period": "1h"})
	m.Write("rotate/ci", m.NewToken())
	m.Modal.SetDisabled(old, true)

	m.Minutes(62)

	require.True(t, m.InQueue(old), "a person can enable the token again")
	require.Contains(t, m.Revocation(old, "last_error"), "disabled")
}

func TestRevocation_BareHTTPStatusAfterADeletionIsNoProof(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{HTTPStatus: 401, Times: -1})

	_ = m.Try(logical.UpdateOperation, "revocations/"+old, map[string]any{"force": true})

	require.Len(t, m.Modal.Calls("ServiceUserDelete"), 1, "Modal has acknowledged the deletion")
	require.True(t, m.InQueue(old), "a proxy rejects every token, so the status proves nothing")
	require.Empty(t, m.Proofs())
	m.Modal.ClearFaults()
	m.Minutes(10)
	require.False(t, m.InQueue(old))
	require.Equal(t, []string{"deleted"}, m.Proofs())
}
