// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestNextStep_OfARevocationHasTheWholeCommand(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	step := func(id string) string { return mounttest.TextIn(m.Read("revocations/"+id), "next_step") }
	managed := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	require.Contains(t, step(managed), "; to revoke the token now: vault write modal/revocations/"+managed+" force=true")
	m.Modal.Inject("ServiceUserDelete", deleteFails)
	m.Clock.Advance(25 * time.Hour)
	m.Tick()
	require.Contains(t, step(managed), "; to try now: vault write -f modal/revocations/"+managed)

	member := m.AddRole("work")
	m.Write("rotate/work", m.NewToken())
	require.Contains(t, step(member), "nothing to do: the engine will have token "+member+" delete itself after ")
	require.Contains(t, step(member), "; to revoke the token now: vault write modal/revocations/"+member+" force=true")
	static := m.AddRole("personal", map[string]any{"revoke_previous": false})
	m.Write("rotate/personal", m.NewToken())
	require.Contains(t, step(static), "modal workspace member-tokens delete "+static+", but not before the grace period ends at ")
	require.Contains(t, step(static), "; then let the engine check: vault write -f modal/revocations/"+static)
	robot := m.Workspace.AddServiceUser("robot")
	m.Write("roles/robot", mounttest.Also(mounttest.TokenData(robot), "type", "static"))
	m.Remove("roles/robot", nil)
	require.Contains(t, step(robot.ID), "modal workspace service-users delete robot, but not before")
}

func TestNextStep_BeginsWithWhatToDo(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	begins := func(begin string, resp map[string]any) {
		t.Helper()
		require.Regexp(t, "^"+begin, resp["next_step"])
	}
	begins("bring an admin token, ", m.Write("config", map[string]any{"request_timeout": "20s"}).Data)
	begins("write another admin token, ", m.Write("config", mounttest.TokenData(m.Workspace.AddServiceUser("robot"))).Data)
	begins("give the role its first token: ", m.Write("roles/empty", map[string]any{"type": "static"}).Data)
	begins("open url in a browser", m.Write("rotate/empty/approval", nil).Data)
	begins("ask the person who has the url to approve by ", m.Read("rotate/empty/approval"))
	begins("delete token "+mounttest.SomeID+" on ", m.LookUp("token_id", mounttest.SomeID))
	begins("look for the service user in other mounts and workspaces", m.LookUp("service_user", "vault-2f9f1a7c-ci-abcdefgh"))
}

func TestConfig_ExpiringAdminTokenNamesTheCommandToReplaceIt(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(mounttest.Day))))
	for range 2 { // before and after the expiry
		resp, err := m.Handle(logical.ReadOperation, "config", nil)
		require.NoError(t, err)
		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], ": vault write modal/config token_id=… token_secret=-")
		m.Clock.Advance(2 * mounttest.Day)
	}
}

// pausedNote follows each promise of the engine's own work while the mount is paused.
const pausedNote = "the engine is paused, so it does nothing by itself until: vault write modal/config paused=false"

func TestNextStep_SaysThatTheEngineIsPaused(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	require.Contains(t, m.Write("config", map[string]any{"paused": true}).Data["next_step"], pausedNote)
	rotated := m.Write("rotate/ci", nil).Data
	require.Contains(t, rotated["next_step"], pausedNote)
	require.Contains(t, m.Revocation(mounttest.TextIn(rotated, "previous_token_id"), "next_step"), pausedNote)
	require.Contains(t, m.Write("roles/ci", map[string]any{"grace_period": "2h"}).Data["next_step"], pausedNote)
	require.Equal(t, true, m.Read("rotate/ci")["paused"])
	m.Modal.DeleteToken(m.TokenID("ci"))
	require.Contains(t, m.Write("verify/ci", nil).Data["next_step"], pausedNote)
	require.Contains(t, m.Remove("roles/ci", nil).Data["next_step"], pausedNote)
	m.Write("config", map[string]any{"paused": false})
}

// Each case does what needs an engine that is not paused, pauses the engine, and returns the text with the promise.
func TestPromise_SaysThatTheEngineIsPaused(t *testing.T) {
	t.Parallel()
	for promise, text := range map[string]func(m *mounttest.Mount, pause func()) string{
		"the token ends with its lease, or on ": func(m *mounttest.Mount, pause func()) string {
			m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
			id := mounttest.TextIn(m.Read("creds/job"), "token_id")
			pause()
			return m.Revocation(m.ServiceUser(id).Name, "next_step").(string)
		},
		"the engine keeps it while somebody uses it, until ": func(m *mounttest.Mount, pause func()) string {
			old := m.AddManaged("ci", map[string]any{"grace_period": "1h", "hold_while_used": "7d"})
			secret := mounttest.TextIn(m.Read("creds/ci"), "token_secret")
			m.Write("rotate/ci", nil)
			m.Clock.Advance(59 * time.Minute)
			m.Modal.Use(old, secret)
			m.Minutes(3)
			pause()
			return m.Revocation(old, "next_step").(string)
		},
		"the engine rotates the role at ": func(m *mounttest.Mount, pause func()) string {
			id := m.AddManaged("ci")
			m.Modal.SetExpiry(id, mounttest.StartTime.Add(20*mounttest.Day))
			pause()
			return m.Write("verify/ci", nil).Warnings[0]
		},
		"Modal lets the token expire on ": func(m *mounttest.Mount, pause func()) string {
			pause()
			m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Mangle: func(answer proto.Message) {
				answer.(*pb.ServiceUserCreateResponse).SetExpiresAt(timestamppb.New(mounttest.StartTime.Add(20 * mounttest.Day)))
			}})
			return m.Write("roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer"}).Warnings[0]
		},
		"the engine sets them again within a minute or so": func(m *mounttest.Mount, pause func()) string {
			m.AddManaged("ci")
			pause()
			m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{Times: -1, Mangle: func(proto.Message) {
				m.Workspace.SetServiceUserRole(m.ServiceUser(m.TokenID("ci")).Name, "main", "contributor")
			}})
			return m.Write("roles/ci", map[string]any{"environment_roles": "main=viewer"}).Warnings[0]
		},
		"to be revoked after 2026-03-02T12:00:00Z (automatic)": func(m *mounttest.Mount, pause func()) string {
			m.AddManaged("ci")
			pause()
			return mounttest.TextIn(m.Write("rotate/ci", map[string]any{"dry_run": true}).Data, "plan")
		},
		"the engine deletes due tokens again": func(m *mounttest.Mount, pause func()) string {
			pause()
			addOrphan(m)
			return mounttest.TextIn(m.Write("orphans", map[string]any{"dry_run": false}).Data, "next_step")
		},
		"the engine deletes the other orphans later; ": func(m *mounttest.Mount, pause func()) string {
			pause()
			addOrphan(m)
			m.Modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
			return mounttest.TextIn(m.Write("orphans", map[string]any{"dry_run": false}).Data, "next_step")
		},
		"it compares once it can list the service users": func(m *mounttest.Mount, pause func()) string {
			pause()
			m.Write("config", map[string]any{"remove_admin_token": true})
			return mounttest.TextIn(m.Write("orphans", map[string]any{"accept": true}).Data, "next_step")
		},
	} {
		t.Run(promise, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewAllowingOrphans(t)
			said := text(m, func() { m.Write("config", map[string]any{"paused": true}) })
			_, after, found := strings.Cut(said, promise)
			require.True(t, found, said)
			require.Contains(t, after, pausedNote)
		})
	}
}

// addOrphan creates a service user with the mount's prefix that Vault does not track, and lets it become an orphan.
func addOrphan(m *mounttest.Mount) {
	_, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(m.T, err)
	m.Clock.Advance(11 * time.Minute)
}

func TestNextStep_PromisesNoDeletionWhileTheMountIsOutOfSync(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	_, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.Minutes(12)
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	const undecided = "the engine deletes nothing until an operator decides: vault list -detailed modal/orphans"
	require.Contains(t, m.Revocation(old, "next_step"), undecided)
	require.Contains(t, m.Remove("roles/ci", nil).Data["next_step"], undecided)
}
