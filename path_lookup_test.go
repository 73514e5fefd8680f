// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

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

func TestLookup_LeadsFromALeakedTokenToItsRevocation(t *testing.T) {
	t.Parallel()
	for kind, leak := range map[string]func(m *mounttest.Mount) (id string){
		"current managed":  func(m *mounttest.Mount) string { return m.AddManaged("ci") },
		"current static":   func(m *mounttest.Mount) string { return m.AddRole("ci") },
		"previous managed": func(m *mounttest.Mount) string { id := m.AddManaged("ci"); m.Write("rotate/ci", nil); return id },
		"previous static":  func(m *mounttest.Mount) string { id := m.AddRole("ci"); m.Write("rotate/ci", m.NewToken()); return id },
		"lease": func(m *mounttest.Mount) string {
			m.Write("roles/ci", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
			return mounttest.TextIn(m.Must(logical.ReadOperation, "creds/ci", nil).Data, "token_id")
		},
		"admin": func(m *mounttest.Mount) string { return mounttest.TextIn(m.Read("config"), "token_id") },
		"orphan": func(m *mounttest.Mount) string {
			user, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
			require.NoError(m.T, err)
			return user.ID
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewAllowingOrphans(t)
			id := leak(m)
			want, _, _ := strings.Cut(kind, " ")
			found := m.LookUp("token_id", id)
			require.Equal(t, want, found["kind"])
			require.Equal(t, id, found["token_id"])
			if want != "admin" && want != "orphan" {
				require.Equal(t, "ci", found["role"])
				require.NotEmpty(t, found["state"])
			}
			require.Equal(t, "acme", found["workspace"])
			if user, owned := found["service_user"]; owned {
				require.Equal(t, found, m.LookUp("service_user", user.(string)), "the name that Modal's pages show gives the same answer")
			}

			m.Follow(mounttest.TextIn(found, "next_step"))

			m.Minutes(1)
			require.False(t, m.Knows(id))
			require.Equal(t, "unknown", m.LookUp("token_id", id)["kind"])
		})
	}
}

func TestLookup_ShowsLastUseAndWhetherATokenIsDisabled(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	managed, person := m.AddManaged("ci"), m.AddRole("personal")
	m.Clock.Advance(time.Hour)
	for role, id := range map[string]string{"ci": managed, "personal": person} {
		cred := m.Credential(role)
		require.True(t, m.Modal.Use(cred.ID, cred.Secret))
		require.Equal(t, m.Clock.Now().Format(time.RFC3339), m.LookUp("token_id", id)["last_used_at"], role)
	}
	m.Modal.SetDisabled(person, true)
	require.Equal(t, true, m.LookUp("token_id", person)["disabled"])
}

func TestLookup_FindsAnUnverifiedTokenThatAnotherRoleHad(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/gpu", mounttest.Also(token, "type", "static", "verify", false))
	m.Write("roles/ci", mounttest.Also(token, "type", "static"))
	m.Remove("roles/ci", nil)
	m.Remove("revocations/"+token["token_id"].(string), map[string]any{"force": true})

	found := m.LookUp("token_id", token["token_id"].(string))

	require.Equal(t, "current", found["kind"])
	require.Equal(t, "gpu", found["role"])
	require.Contains(t, found["next_step"], "vault write modal/rotate/gpu")
}

func TestLookup_FindsTheRoleOfAnUnverifiedTokenByItsServiceUser(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	const user = "vault-2f9f1a7c-gpu-aaaaaaaa"
	token, err := m.Workspace.CreateServiceUser(user)
	require.NoError(t, err)
	m.Write("roles/gpu", mounttest.Also(mounttest.TokenData(token), "type", "static", "verify", false, "force", true))
	m.Clock.Advance(time.Hour)
	require.True(t, m.Modal.Use(token.ID, token.Secret))

	found := m.LookUp("service_user", user)

	require.Equal(t, "current", found["kind"], "the command for an orphan would delete the role's token")
	require.Equal(t, "gpu", found["role"])
	require.Equal(t, token.ID, found["token_id"])
	require.Equal(t, user, found["service_user"])
	require.Equal(t, "acme", found["workspace"])
	require.Equal(t, m.Clock.Now().Format(time.RFC3339), found["last_used_at"])
}

func TestLookup_UnknownTokenIsAnAnswerNotAnError(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	foreign := m.Workspace.AddServiceUser("team-b")
	found := m.LookUp("token_id", foreign.ID)
	require.Equal(t, "unknown", found["kind"])
	require.Contains(t, found["next_step"], "modal workspace service-users delete team-b")
	untracked := m.Member.NewToken()
	found = m.LookUp("token_id", untracked.ID)
	require.Equal(t, "unknown", found["kind"])
	require.Contains(t, found["next_step"], "modal workspace member-tokens delete "+untracked.ID)
	require.Equal(t, "unknown", m.LookUp("service_user", "vault-2f9f1a7c-ci-abcdefgh")["kind"])
}

func TestLookup_FindsAnUnverifiedTokenInTheQueueByItsServiceUser(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	const user = "vault-2f9f1a7c-gpu-aaaaaaaa"
	token, err := m.Workspace.CreateServiceUser(user)
	require.NoError(t, err)
	m.Write("roles/gpu", mounttest.Also(mounttest.TokenData(token), "type", "static", "verify", false, "force", true))
	m.Write("rotate/gpu", mounttest.Also(m.NewToken(), "force", true))

	found := m.LookUp("service_user", user)

	require.Equal(t, "previous", found["kind"])
	require.Equal(t, token.ID, found["revocation"])
	require.Equal(t, int64(1), found["version"])
	m.Modal.DeleteToken(token.ID)
}

func TestLookup_FindsTheAdminTokenByItsServiceUserToo(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	robot := m.Workspace.AddServiceUser("robot")
	m.Write("config", mounttest.TokenData(robot))

	found := m.LookUp("service_user", "robot")

	require.Equal(t, "admin", found["kind"])
	require.Equal(t, robot.ID, found["token_id"])
	require.Equal(t, "limited", found["state"], "a service user cannot manage service users")
	require.Equal(t, found, m.LookUp("token_id", robot.ID))
}

func TestLookup_ALeaseThatIsBeingCreatedIsALease(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", job)
	m.Modal.OnCall(func(rpc string) {
		if rpc == "EnvironmentRoleSet" {
			m.Storage.Die()
		}
	})
	_, err := m.Handle(logical.ReadOperation, "creds/job", nil)
	require.Error(t, err)
	m.Modal.OnCall(nil)
	m.Restart()
	unfinished := m.List("revocations")[0]

	found := m.LookUp("service_user", unfinished)

	require.Equal(t, "lease", found["kind"])
	require.Equal(t, "job", found["role"])
	require.Equal(t, "pending", found["state"])
	require.Equal(t, "vault write modal/revocations/"+unfinished+" force=true", found["next_step"])
}

func TestLookup_TellsTheStateOfTheRoleTheRevocationOrTheAdminToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	admin := mounttest.TextIn(m.Read("config"), "token_id")
	overdue := m.AddRole("overdue", map[string]any{"rotation_period": "1h"})
	rejected := m.AddRole("rejected")
	left := m.AddRole("left", map[string]any{"revoke_previous": false})
	m.Write("rotate/left", m.NewToken())
	m.Clock.Advance(2 * time.Hour)
	previous := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	m.Modal.SetDisabled(rejected, true)
	m.Write("verify/rejected", nil)
	for id, state := range map[string]string{
		overdue: "overdue", rejected: "rejected", m.TokenID("ci"): "ok", previous: "grace period", left: "waiting for an operator", admin: "ok",
	} {
		require.Equal(t, state, m.LookUp("token_id", id)["state"])
	}
}

func TestLookup_TellsNoLastUseOfANamesakeInAnotherWorkspace(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken())
	namesake, robot := m.Workspace.AddServiceUser("robot"), m.Modal.AddWorkspace("globex").AddServiceUser("robot")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(robot), "type", "static"))
	m.Clock.Advance(time.Hour)
	require.True(t, m.Modal.Use(namesake.ID, namesake.Secret))

	resp := m.Write("lookup", map[string]any{"token_id": robot.ID})

	require.Equal(t, "current", resp.Data["kind"])
	require.Equal(t, "globex", resp.Data["workspace"])
	require.NotContains(t, resp.Data, "last_used_at")
	require.Empty(t, resp.Warnings, "only an admin token of that workspace could ask Modal")
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true))
	require.NotContains(t, m.Read("revocations/"+robot.ID), "last_used_at")
}

func TestLookup_NextStepForAnOrphanDeletesThatOrphanAlone(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	leaked, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	other, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-bbbbbbbb")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)

	m.Follow(mounttest.TextIn(m.LookUp("token_id", leaked.ID), "next_step"))

	require.False(t, m.Knows(leaked.ID))
	require.True(t, m.Modal.Accepts(other.ID, other.Secret), "another mount may return its token")
}

func TestLookup_WithoutAnAdminTokenIsAnAnswer(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	id := m.AddRole("ci")
	for _, setting := range []string{"configured", "not configured"} {
		require.Equal(t, "current", m.LookUp("token_id", id)["kind"], setting)
		resp := m.Write("lookup", map[string]any{"token_id": mounttest.SomeID})
		require.Equal(t, "unknown", resp.Data["kind"], setting)
		require.Contains(t, resp.Warnings[0], "config has no admin token", setting)
		m.Remove("config", nil)
	}
}

func TestLookup_FindsAServiceUserWhileAnotherRoleCannotBeRead(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	id := m.AddManaged("ci")
	user := m.ServiceUser(id).Name
	m.AddRole("broken")
	m.WriteAsNewer("cred/broken")

	found := m.LookUp("service_user", user)

	require.Equal(t, "current", found["kind"])
	require.Equal(t, "ci", found["role"])
}

func TestLookup_FindsAServiceUserInTheQueueDuringAnOutage(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	user := m.ServiceUser(old).Name
	m.Write("rotate/ci", nil)
	m.Modal.SetOutage(true)

	found := m.Write("lookup", map[string]any{"service_user": user}).Data

	require.Equal(t, "previous", found["kind"])
	require.Equal(t, old, found["token_id"])
	require.Equal(t, old, m.Read("revocations/" + user)["token_id"])
}

func TestLookup_AnswersFromStorageDuringAnOutage(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	id := m.AddManaged("ci")
	m.Modal.Inject("*", modaltest.Fault{Code: 14, Times: -1})
	resp := m.Write("lookup", map[string]any{"token_id": id})
	require.Equal(t, "current", resp.Data["kind"])
	require.Contains(t, resp.Warnings[0], "did not say when the token was last used")
	resp = m.Write("lookup", map[string]any{"token_id": mounttest.SomeID})
	require.Equal(t, "unknown", resp.Data["kind"])
	require.Contains(t, resp.Warnings[0], "did not say whether a service user owns the token")
	m.Write("config", map[string]any{"paused": true})
}

func TestLookup_RefusesInvalidTokenIDs(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	for _, odd := range []map[string]any{nil, {"token_id": ""}, {"token_id": "ak"}, {"token_id": "wk-abcdefghijklmnopqrstuv"}, {"token_id": "ak-a b"}, {"token_id": mounttest.SomeID, "service_user": "x"}} {
		m.Refused(logical.UpdateOperation, "lookup", odd)
	}
	require.NotContains(t, m.Refused(logical.UpdateOperation, "lookup", map[string]any{"token_id": mounttest.SomeSecret}), mounttest.SomeSecret)
}

func TestRevocations_AreFoundByTokenIDAndByServiceUser(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	id := mounttest.TextIn(m.Must(logical.ReadOperation, "creds/job", nil).Data, "token_id")
	byToken := m.Read("revocations/" + id)
	require.Equal(t, byToken, m.Read("revocations/"+mounttest.TextIn(byToken, "id")))
	require.Equal(t, id, byToken["token_id"])
	done := m.Write("revocations/"+id, map[string]any{"force": true})
	require.Equal(t, true, done.Data["revoked"])
	require.Equal(t, id, done.Data["token_id"])
	require.False(t, m.Knows(id))
}

func TestRevocations_SayWhyAValidTokenIsNotInTheQueue(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	current, admin := m.AddManaged("ci"), mounttest.TextIn(m.Read("config"), "token_id")
	for id, says := range map[string]string{
		current: "is the current token of role ci", m.ServiceUser(current).Name: "is the current token of role ci", admin: "is the admin token",
		mounttest.SomeID: "and Modal was not asked about it: ask Modal with: vault write modal/lookup token_id=" + mounttest.SomeID,
	} {
		require.Contains(t, m.Absent("revocations/"+id), says)
		require.Contains(t, m.Refused(logical.UpdateOperation, "revocations/"+id, map[string]any{"force": true}), says)
		status, text := m.Failed(logical.DeleteOperation, "revocations/"+id, map[string]any{"force": true})
		require.Equal(t, 404, status)
		require.Contains(t, text, says)
	}
	require.True(t, m.Knows(current))
}

func TestLookup_AnOrphanInTheQueueIsNoLease(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	name := mounttest.TextIn(m.Read("config"), "service_user_prefix") + "job-aaaaaaaa"
	_, err := m.Workspace.CreateServiceUser(name)
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	m.Modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	m.Write("orphans", map[string]any{"dry_run": false})
	require.True(t, m.InQueue(name))

	require.Equal(t, "previous", m.LookUp("service_user", name)["kind"])
}

func TestLookup_EachWayToReplaceALeakedTokenRevokesItAtOnce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	managed, static := m.AddManaged("ci"), m.AddRole("personal")
	for id, want := range map[string]string{
		managed: "vault write modal/rotate/ci grace_period=0",
		static:  "vault write modal/rotate/personal token_id=… token_secret=- grace_period=0, or approve the next token in a browser: vault write modal/rotate/personal/approval grace_period=0",
		mounttest.TextIn(m.Read("config"), "token_id"): "vault write modal/config/rotate token_id=… token_secret=- grace_period=0, or approve the next token in a browser: vault write modal/config/approval grace_period=0",
	} {
		require.Equal(t, want, m.LookUp("token_id", id)["next_step"])
	}
}

func TestLookup_FindsATokenOfALeaseWhoseRoleCannotBeRead(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", mounttest.Also(job, "description", "nightly"))
	id := mounttest.TextIn(m.Must(logical.ReadOperation, "creds/job", nil).Data, "token_id")
	want := m.LookUp("token_id", id)
	require.Equal(t, "nightly", want["description"])
	m.WriteAsNewer("role/job")

	found := m.LookUp("token_id", id)

	delete(want, "description")
	require.Equal(t, want, found)
	require.Equal(t, "lease", found["kind"])
}

func TestLookup_FailsIfItCannotReadWhetherATokenIsCurrent(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	user := m.ServiceUser(old).Name
	m.WriteAsNewer("role/ci")
	for field, value := range map[string]string{"token_id": old, "service_user": user} {
		_, says := m.Failed(logical.UpdateOperation, "lookup", map[string]any{field: value})
		require.Contains(t, says, "role/ci was written by a newer version")
	}
}

func TestRevocations_OfALeaseStaysWhileARoleHasItsToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", job)
	lease := m.Must(logical.ReadOperation, "creds/job", nil).Data
	id := mounttest.TextIn(lease, "token_id")
	m.Write("roles/copy", mounttest.Also(mounttest.TokenParameters(id, mounttest.TextIn(lease, "token_secret")), "type", "static", "verify", false))
	key := mounttest.TextIn(m.Read("revocations/"+id), "id")
	for _, force := range []bool{false, true} {
		data := map[string]any{"force": force}
		require.Contains(t, m.Refused(logical.DeleteOperation, "revocations/"+key, data), "replace it there first; the revocation stays")
		require.Contains(t, m.Refused(logical.UpdateOperation, "revocations/"+key, data), "replace it there first; the revocation stays")
	}
	require.True(t, m.InQueue(key))
	m.Write("rotate/copy", mounttest.Also(m.NewToken(), "force", true))
	require.Equal(t, true, m.Write("revocations/"+key, map[string]any{"force": true}).Data["revoked"])
}
