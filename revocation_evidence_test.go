// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file check which answers of Modal prove that a token is gone.

// deleteFails stops the engine from deleting service users. Calls with their tokens still work.
var deleteFails = modaltest.Fault{Code: codes.PermissionDenied, Message: "only owners and managers", Times: -1}

// failedRotation makes a rotation fail and returns the ID of the revocation that tracks the new service user.
func failedRotation(t *testing.T) (m *mount, name string) {
	t.Helper()
	m = newManagedMount(t)
	m.addManaged("ci")
	m.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	m.modal.Inject("ServiceUserDelete", deleteFails)
	require.Error(t, m.try(logical.UpdateOperation, "rotate/ci", nil))
	m.modal.ClearFaults()
	require.Len(t, m.list("revocations"), 1)
	return m, m.list("revocations")[0]
}

// unansweredRotation makes a rotation fail without an answer from Modal, so that the service user may still
// appear. The key is the ID of the revocation that tracks the new service user.
func unansweredRotation(t *testing.T) (m *mount, key string) {
	t.Helper()
	m = newManagedMount(t)
	m.addManaged("ci")
	m.modal.Inject("ServiceUserCreate", unanswered(false, -1))
	require.Error(t, m.try(logical.UpdateOperation, "rotate/ci", nil))
	m.modal.ClearFaults()
	return m, m.list("revocations")[0]
}

// modalCreatesLate makes Modal create the service user late, and checks that the worker deletes it.
func (m *mount) modalCreatesLate(key string) {
	m.t.Helper()
	_, err := m.workspace.CreateServiceUser(key)
	require.NoError(m.t, err)
	m.minutes(30)
	require.Len(m.t, m.modal.ServiceUsers(), 1)
	require.Empty(m.t, m.list("revocations"))
}

func TestRevocation_NotFoundSoonAfterACreationIsNoProof(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(m *mount, name string){
		"a retry": func(m *mount, name string) {
			require.Equal(m.t, false, m.write("revocations/"+name, nil).Data["revoked"])
		},
		"a retry with force": func(m *mount, name string) { m.write("revocations/"+name, map[string]any{"force": true}) },
		"an operator forgets": func(m *mount, name string) {
			require.Contains(m.t, m.refused(logical.DeleteOperation, "revocations/"+name, nil), "may still be creating it")
		},
		"the worker": func(m *mount, _ string) { m.minutes(9) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, key := unansweredRotation(t)

			ask(m, key)

			require.True(t, m.inQueue(key))
			m.modalCreatesLate(key)
		})
	}
}

func TestRotate_TracksAServiceUserWhoseCreationAGatewayHid(t *testing.T) {
	t.Parallel()
	for _, answer := range []modaltest.BareAnswer{
		{Status: 520, NoContentType: true}, {Status: 401, NoContentType: true}, {Status: 403}, {Status: 404}, {Status: 409}, {Status: 502},
	} {
		t.Run(strconv.Itoa(answer.Status), func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			front := modaltest.StartFront(t, m.modal)
			m.write("config", also(m.newToken(), "server_url", front.URL()))
			m.modal.FailOnOrphans(t, m.trackedServiceUsers)
			m.addManaged("ci")
			answer.AfterWork, answer.Methods = true, []string{"ServiceUserCreate"}
			front.Answer(answer)

			resp, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)

			require.Error(t, err)
			require.Contains(t, err.Error()+errorText(resp), "HTTP "+strconv.Itoa(answer.Status))
			require.Empty(t, m.modal.Orphans(m.trackedServiceUsers()), "a revocation tracks the service user that Modal created")
			front.PassOn()
			m.clock.advance(time.Hour)
			m.write("rotate/ci", map[string]any{"grace_period": "0s"})
			m.minutes(22)
			require.Equal(t, false, m.read("status")["out_of_sync"])
			require.Empty(t, m.list("revocations"))
			require.Len(t, m.modal.ServiceUsers(), 1)
		})
	}
}

func TestRevocation_OfAnUnfinishedTokenWaitsUntilModalRejectsIt(t *testing.T) {
	t.Parallel()
	m, name := failedRotation(t)
	entry := m.read("revocations/" + name)
	id, _ := entry["token_id"].(string)
	require.NotEmpty(t, id)
	require.NotEmpty(t, entry["identity_id"])
	m.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.NotFound, Message: "not by this name", Times: -1})
	m.modal.KeepDeletedFor(5 * time.Minute)
	m.minutes(3)
	require.Equal(t, "unconfirmed", m.read("revocations/" + name)["state"], "Modal still accepts the token")
	m.minutes(20)
	require.False(t, m.inQueue(name))
	require.False(t, m.knows(id))
}

func TestRevocation_CompletesWhereModalLacksServiceUserInfo(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.Inject("ServiceUserInfo", modaltest.Fault{Code: codes.Unimplemented, Times: -1})
	m.modal.Inject("ServiceUserCreate", unanswered(true, 1))
	require.Error(t, m.try(logical.UpdateOperation, "rotate/ci", nil))
	m.modal.Inject("ServiceUserCreate", unanswered(false, 1))
	require.Error(t, m.try(logical.UpdateOperation, "rotate/ci", nil))
	m.minutes(22)
	require.Empty(t, m.list("revocations"))
	require.Len(t, m.modal.ServiceUsers(), 1)
}

func TestRevocation_CompletesOnceModalRejectsATokenItHadAccepted(t *testing.T) {
	t.Parallel()
	for name, cannot := range map[string]func(m *mount){
		"the admin may not delete": func(m *mount) { m.modal.Inject("ServiceUserDelete", deleteFails) },
		"there is no admin token":  func(m *mount) { m.write("config", map[string]any{"remove_admin_token": true}) },
		"the admin token is of another workspace": func(m *mount) {
			m.write("config", also(tokenData(m.modal.AddWorkspace("globex").AddMember("eve").NewToken()), "force", true))
		},
		"the admin token is rejected": func(m *mount) {
			m.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unauthenticated, Times: -1})
		},
		"the role's current token is rejected": func(m *mount) { m.modal.DeleteToken(m.tokenID("ci")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			old := m.addManaged("ci", map[string]any{"disable_automated_rotation": true})
			m.write("rotate/ci", map[string]any{"grace_period": 0})
			cannot(m)
			m.tick()
			require.True(t, m.inQueue(old))
			require.NotContains(t, m.eventTypes(), "modal/revoke")

			m.modal.DeleteToken(old)

			m.minutes(10)
			require.False(t, m.inQueue(old))
			require.Contains(t, m.eventTypes(), "modal/revoke")
		})
	}
}

func TestRevocation_CompletesForAnUnfinishedTokenDeletedByAnOperator(t *testing.T) {
	t.Parallel()
	m, name := failedRotation(t)
	id, _ := m.read("revocations/" + name)["token_id"].(string)
	m.write("config", map[string]any{"remove_admin_token": true})
	m.minutes(11)
	require.True(t, m.inQueue(name))
	m.modal.DeleteToken(id)
	m.clock.advance(maxBackOff)
	m.minutes(11)
	require.False(t, m.inQueue(name), "Modal created this token, so a rejection is proof")
}

func TestRevocation_CompletesForATokenThatTheWorkerSawAccepted(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := also(m.newToken(), "type", "static", "verify", false)
	m.write("roles/ci", token)
	m.write("rotate/ci", also(m.newToken(), "force", true, "grace_period", 0))
	id := textIn(token, "token_id")
	m.tick()
	require.Equal(t, true, m.read("revocations/" + id)["verified"])
	m.restart()
	m.modal.DeleteToken(id)
	m.minutes(5)
	require.False(t, m.inQueue(id))
}

func TestRotate_RetriesWhileModalDoesNotKnowTheNewServiceUser(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.NotFound, Message: "no such service user", Times: 2})
	m.write("rotate/ci", nil)
	require.NotEqual(t, old, m.tokenID("ci"))
	require.Equal(t, "contributor", m.serviceUser(m.tokenID("ci")).Roles["main"])
}

func TestAdminToken_IsNotMarkedLimitedAfterAnAbortedCall(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.Aborted, Message: "try again", Times: -1})
	require.Error(t, m.try(logical.UpdateOperation, "config", m.newToken()))
	m.modal.ClearFaults()
	m.write("config", m.newToken())
	require.Equal(t, true, m.read("config")["manages_service_users"])
}
