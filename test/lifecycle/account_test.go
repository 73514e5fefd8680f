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

// The tests in this file check that the engine shows, and checks, which account a token belongs to.

func TestConfig_AdminTokenOfAnotherWorkspaceNeedsForce(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(m *mounttest.Mount){
		"while it is stored":   func(*mounttest.Mount) {},
		"after it was removed": func(m *mounttest.Mount) { m.Write("config", map[string]any{"remove_admin_token": true}) },
		"after config was deleted": func(m *mounttest.Mount) {
			m.Remove("config", nil)
			m.Write("config", map[string]any{"server_url": m.Modal.URL()})
		},
		"after the process started": func(m *mounttest.Mount) { m.Write("config", map[string]any{"remove_admin_token": true}); m.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			require.Equal(t, map[string]any{"id": m.Workspace.ID(), "name": "acme"}, m.StoredWorkspace())
			leave(m)
			eve := m.ForeignMember()
			for _, path := range []string{"config", "config/rotate"} {
				text := m.Refused(logical.UpdateOperation, path, mounttest.TokenData(eve.NewToken()))
				require.Contains(t, text, "force=true")
				require.Contains(t, text, `user "eve" (`+eve.ID()+`) in workspace "globex"`)
				require.Contains(t, text, `workspace "acme" (`+m.Workspace.ID()+`)`)
			}
			m.Write("config", m.NewToken())
			m.Write("config", mounttest.Also(mounttest.TokenData(eve.NewToken()), "force", true))
			require.Equal(t, "globex", m.StoredWorkspace()["name"])
		})
	}
}

func TestConfig_UnverifiedAdminTokenIsRefusedOnceAWorkspaceIsKnown(t *testing.T) {
	t.Parallel()
	unverified := func(m *mounttest.Mount) map[string]any {
		return mounttest.Also(m.NewToken(), "verify", false, "force", true)
	}
	m := mounttest.New(t)
	m.Write("config", unverified(m))
	m.Write("config", m.NewToken())
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", unverified(m)), "write again without verify=false")
	m.Write("config", map[string]any{"remove_admin_token": true})
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", unverified(m)), "write again without verify=false")

	pinned := mounttest.New(t)
	pinned.Write("config", map[string]any{"pinned_workspace": "acme"})
	require.Contains(t, pinned.Refused(logical.UpdateOperation, "config", unverified(pinned)), "bring the token with verify=true")
}

func TestConfig_ForceDoesNotOverrideThePinnedWorkspace(t *testing.T) {
	t.Parallel()
	for name, pinned := range map[string]func(m *mounttest.Mount) string{
		"by name": func(*mounttest.Mount) string { return "acme" }, "by ID": func(m *mounttest.Mount) string { return m.Workspace.ID() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			m.AddRole("ci")
			m.Write("roles/empty", map[string]any{"type": "static"})
			m.Write("config", map[string]any{"pinned_workspace": pinned(m)})
			eve := m.ForeignMember()
			for _, path := range []string{"config", "config/rotate", "roles/new", "roles/empty", "rotate/ci", "rotate/empty"} {
				data := mounttest.Also(mounttest.TokenData(eve.NewToken()), "force", true)
				if strings.HasPrefix(path, "roles/") {
					data = mounttest.Also(data, "type", "static")
				}
				text := m.Refused(logical.UpdateOperation, path, data)
				require.Contains(t, text, `in workspace "globex"`, path)
				require.Contains(t, text, "force=true does not override that", path)
				if path == "config/rotate" {
					continue
				}
				require.Contains(t, m.Refused(logical.UpdateOperation, path, mounttest.Also(data, "verify", false)), "bring the token with verify=true", path)
			}
			for _, path := range []string{"config/approval", "rotate/ci/approval"} {
				m.Write(path, map[string]any{"force": true})
				resp, wrong := m.Approved(path, eve)
				require.Equal(t, "refused", resp.Data["state"], path)
				require.Equal(t, "globex", resp.Data["workspace"])
				require.Contains(t, resp.Data["reason"], "it deleted itself")
				require.False(t, m.Modal.Accepts(wrong.ID, wrong.Secret))
			}
			m.Write("config", m.NewToken())
			m.Write("rotate/ci", m.NewToken())
		})
	}
}

func TestConfig_PinSurvivesARenamedWorkspace(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", map[string]any{"pinned_workspace": "acme"})
	require.NotContains(t, m.Read("config"), "pinned_workspace_id", "Modal was not asked yet")
	m.AddRole("ci")
	require.Equal(t, m.Workspace.ID(), m.Read("config")["pinned_workspace_id"])

	m.Workspace.Rename("acme-inc")
	impostor := m.Modal.AddWorkspace("acme").AddMember("mallory")

	m.Write("rotate/ci", m.NewToken())
	m.Write("config", m.NewToken())
	require.Equal(t, "acme", m.Read("config")["pinned_workspace"])
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", mounttest.Also(mounttest.TokenData(impostor.NewToken()), "force", true)), "does not override")
	m.Write("config", map[string]any{"pinned_workspace": ""})
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", map[string]any{"pinned_workspace": "acme"}), `in workspace "acme-inc"`,
		"the stored admin token belongs to another workspace")
	m.Write("config", map[string]any{"pinned_workspace": m.Workspace.ID()})
}

func TestConfig_PinKeepsItsWorkspaceWhenAnotherTakesTheName(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	other := m.Modal.AddWorkspace("globex")
	m.Write("roles/other", mounttest.Also(mounttest.TokenData(other.AddMember("eve").NewToken()), "type", "static"))
	m.Write("config", map[string]any{"pinned_workspace": "acme"})
	m.AddRole("ci")
	m.Workspace.Rename("acme-inc")
	other.Rename("acme")

	m.Write("verify/other", nil)
	m.Clock.Advance(2 * mounttest.Day)
	m.Tick()

	require.Equal(t, m.Workspace.ID(), m.Read("config")["pinned_workspace_id"])
	m.Write("rotate/ci", m.NewToken())
}

func TestConfig_RefusalListsEverythingThatForceWouldAccept(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("ci")
	m.AddManaged("gpu")
	pem := modaltest.Start(t, modaltest.WithTLS()).CACert()
	write := mounttest.Also(mounttest.TokenData(m.ForeignMember().NewToken()), "ca_cert", pem)

	text := m.Refused(logical.UpdateOperation, "config", write)

	require.Contains(t, text, `another workspace: admin token `+mounttest.TextIn(write, "token_id")+` belongs to user "eve"`)
	require.Contains(t, text, "other certificates: ")
	require.Contains(t, text, "the secrets of 3 stored tokens of this mount")
	m.Write("config", mounttest.Also(write, "force", true))
}

func TestConfig_WriteSaysThatTheEngineIsPaused(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	require.Equal(t, false, m.Write("config", map[string]any{"request_timeout": "20s"}).Data["paused"])
	paused := "the engine is paused, so it does nothing by itself until: vault write modal/config paused=false"
	answer := m.Write("config", map[string]any{"paused": true}).Data
	require.Equal(t, true, answer["paused"])
	require.Contains(t, answer["next_step"], paused)
	rotated := m.Write("config/rotate", m.NewToken()).Data
	require.Equal(t, true, rotated["paused"])
	require.Contains(t, rotated["next_step"], paused)
	require.Contains(t, strings.Join(m.Write("config", m.NewToken()).Warnings, "\n"), paused)
	require.NotContains(t, m.Write("config", map[string]any{"paused": false}).Data["next_step"], "paused")
}

func TestAccount_IsInEveryLogLineAndEventOfATokenChange(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/empty", map[string]any{"type": "static"})
	m.AddRole("ci")
	bob := m.Workspace.AddMember("bob")
	bob.SetRole(modaltest.RoleManager)
	for _, change := range []struct {
		path string
		data map[string]any
		kind string
		line string
		who  *modaltest.Member
	}{
		{"config", mounttest.TokenData(bob.NewToken()), "modal/config-write", "config written", bob},
		{"config/rotate", m.NewToken(), "modal/config-write", "config written", m.Member},
		{"config", map[string]any{"remove_admin_token": true}, "modal/config-write", "config written", m.Member},
		{"roles/new", mounttest.Also(mounttest.TokenData(bob.NewToken()), "type", "static"), "modal/role-write", "role written", bob},
		{"roles/empty", mounttest.TokenData(bob.NewToken()), "modal/role-write", "role written", bob},
		{"rotate/ci", mounttest.Also(mounttest.TokenData(bob.NewToken()), "force", true), "modal/rotate", "rotated", bob},
	} {
		answer := m.Write(change.path, change.data).Data

		id := mounttest.TextIn(change.data, "token_id")
		events := m.EventsOf(change.kind)
		event := events[len(events)-1]
		require.Equal(t, "acme", event["workspace"], change.path)
		require.Equal(t, m.Workspace.ID(), event["workspace_id"], change.path)
		require.Equal(t, change.who.Username(), event["identity"], change.path)
		require.Equal(t, change.who.ID(), event["identity_id"], change.path)
		line := m.LineWith(change.line)
		require.Contains(t, line, change.who.Username(), change.path)
		require.Contains(t, line, "acme", change.path)
		if id != "" {
			require.Equal(t, id, event["token_id"], change.path)
			require.Contains(t, line, id, change.path)
			require.Equal(t, "acme", answer["workspace"], change.path)
			require.Equal(t, change.who.Username(), answer["identity"], change.path)
		}
	}
	m.Remove("roles/new", nil)
	deleted := m.EventsOf("modal/role-delete")
	require.Equal(t, "bob", deleted[0]["identity"])
	require.Contains(t, m.LineWith("role deleted"), "bob")
	m.Write("config", m.NewToken())
	m.Remove("config", nil)
	require.Contains(t, m.LineWith("config deleted"), "alice")
}

func TestApproval_OnlyTheFirstAnswerContainsURLAndCode(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.Modal.Inject("TokenFlowWait", modaltest.Fault{Code: codes.Unavailable, Times: 1})
	for _, path := range []string{"rotate/ci/approval", "config/approval"} {
		begun := m.Write(path, map[string]any{"force": true}).Data
		flows := m.Modal.Flows()
		flow := flows[len(flows)-1]
		require.Equal(t, flow.URL, begun["url"])
		require.Equal(t, flow.Code, begun["code"])
		require.Contains(t, begun["next_step"], "open url in a browser, compare the code")

		read := m.Read(path)
		again := m.Refused(logical.UpdateOperation, path, nil)
		require.NotContains(t, read, "url")
		require.NotContains(t, read, "code")
		require.Contains(t, read["next_step"], "if the url is lost, cancel with: vault delete modal/"+path)
		require.Contains(t, again, "only the answer to the write that began it contained its url")
		require.Contains(t, again, "vault delete modal/"+path+", then begin again with: vault write -f modal/"+path)
		m.Remove(path, nil)
		require.NoError(t, m.Modal.DenyFlow(flow.ID))
		m.Tick()
		told := mounttest.ToJSON(t, read) + again + mounttest.ToJSON(t, m.Read(path)) + m.Logs.String()
		require.NotContains(t, told, flow.ID)
		require.NotContains(t, told, flow.Code)
	}
}

func TestApproval_WhenDoneNamesTheAccountAndThePreviousToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	before := m.Read("config")["token_id"]
	bob := m.Workspace.AddMember("bob")
	bob.SetRole(modaltest.RoleManager)
	m.Write("config/approval", nil)
	resp, token := m.Approved("config/approval", bob)
	require.Equal(t, "done", resp.Data["state"])
	require.Equal(t, "bob", resp.Data["identity"], "the workspace is pinned, not the person")
	require.Equal(t, bob.ID(), resp.Data["identity_id"])
	require.Equal(t, "user", resp.Data["identity_type"])
	require.Equal(t, "acme", resp.Data["workspace"])
	require.Equal(t, m.Workspace.ID(), resp.Data["workspace_id"])
	require.Equal(t, token.ID, resp.Data["token_id"])
	require.Equal(t, before, resp.Data["previous_token_id"])
	require.Contains(t, m.LineWith("approval ended"), "bob")

	first := m.AddRole("ci")
	m.Write("rotate/ci/approval", nil)
	resp, token = m.Approved("rotate/ci/approval", m.Member)
	require.Equal(t, "done", resp.Data["state"])
	require.Equal(t, "alice", resp.Data["identity"])
	require.Equal(t, first, resp.Data["previous_token_id"])
	require.Equal(t, int64(2), resp.Data["version"])
	require.Equal(t, token.ID, m.TokenID("ci"))
}

func TestApproval_RefusesAnotherWorkspaceAfterAdminTokenRemoval(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	m.Write("config", map[string]any{"remove_admin_token": true})
	require.Empty(t, m.Write("config/approval", nil).Warnings)
	resp, wrong := m.Approved("config/approval", m.ForeignMember())
	require.Equal(t, "refused", resp.Data["state"])
	require.Contains(t, resp.Data["reason"], `workspace "acme"`)
	require.Equal(t, "eve", resp.Data["identity"])
	require.NotContains(t, m.Read("config"), "token_id")
	require.False(t, m.Modal.Accepts(wrong.ID, wrong.Secret))
}

func TestApproval_FirstTokenMayBeOfAnyWorkspaceAndGetsAWarning(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	warnings := strings.Join(m.Write("config/approval", nil).Warnings, "\n")
	require.Contains(t, warnings, "the person who opens the url can use any account")
	require.Contains(t, warnings, "pinned_workspace=")
	eve := m.ForeignMember()
	resp, _ := m.Approved("config/approval", eve)
	require.Equal(t, "done", resp.Data["state"])
	require.Equal(t, "globex", resp.Data["workspace"])
	require.Contains(t, resp.Data["reason"], `user "eve"`)
	require.Contains(t, resp.Data["reason"], "vault write modal/config pinned_workspace="+mounttest.TextIn(resp.Data, "workspace_id"))

	m.Write("roles/ci", map[string]any{"type": "static"})
	require.Contains(t, strings.Join(m.Write("rotate/ci/approval", nil).Warnings, "\n"), "pinned_workspace=")
	m.Remove("rotate/ci/approval", nil)
	require.Empty(t, m.Write("rotate/ci/approval", map[string]any{"pinned_workspace": "acme"}).Warnings)
	require.Equal(t, "acme", m.Read("rotate/ci/approval")["pinned_workspace"])
	refused, _ := m.Approved("rotate/ci/approval", eve)
	require.Equal(t, "refused", refused.Data["state"])
	require.Contains(t, refused.Data["reason"], "the approval's pinned_workspace is acme")
}

func TestStatic_UnverifiedTokenNeverReplacesAnAcceptedSecret(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := mounttest.TextIn(m.Read("config"), "token_id")
	m.Write("config", map[string]any{"remove_admin_token": true})
	require.Equal(t, "manual", m.Read("revocations/" + id)["method"])
	m.AddRole("ci")
	wrong := mounttest.Also(mounttest.TokenParameters(id, mounttest.SomeSecret), "verify", false)
	for path, data := range map[string]map[string]any{
		"roles/mine": mounttest.Also(wrong, "type", "static"), "rotate/ci": mounttest.Also(wrong, "force", true),
	} {
		require.Contains(t, m.Refused(logical.UpdateOperation, path, data), "with another secret, which Modal has accepted", path)
	}
	require.True(t, m.InQueue(id))

	token := m.NewToken()
	m.Write("roles/back", mounttest.Also(token, "type", "static"))
	m.Remove("roles/back", nil)
	m.Write("roles/back", mounttest.Also(token, "type", "static", "verify", false))
	require.Equal(t, "alice", m.Read("rotate/back")["identity"], "the role has the secret that Modal accepted")
	require.Equal(t, true, m.Read("rotate/back")["verified"])
}

func TestStatic_UnverifiedTokenDoesNotBlockTheVerifiedToken(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(m *mounttest.Mount, token map[string]any){
		"config": func(m *mounttest.Mount, token map[string]any) { m.Write("config", token) },
		"another role": func(m *mounttest.Mount, token map[string]any) {
			m.Write("roles/theirs", mounttest.Also(token, "type", "static"))
		},
		"a rotation of another role": func(m *mounttest.Mount, token map[string]any) {
			m.AddRole("theirs")
			m.Write("rotate/theirs", token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			token := m.NewToken()
			id := mounttest.TextIn(token, "token_id")
			m.Write("roles/mine", mounttest.Also(mounttest.TokenParameters(id, mounttest.SomeSecret), "type", "static", "verify", false))

			take(m, token)

			resp := m.Must(logical.ReadOperation, "creds/mine", nil)
			require.Len(t, resp.Warnings, 1)
			require.Contains(t, resp.Warnings[0], "another role of this mount or config has it as a verified token: replace it with: vault write modal/rotate/mine")
			require.NotContains(t, resp.Warnings[0], "theirs")
			require.Contains(t, m.LineWith("verified elsewhere"), "role=mine")
			require.Error(t, m.Try(logical.UpdateOperation, "roles/mine", token), "two roles never share a verified token")
			m.Write("verify/mine", nil)
			require.Equal(t, false, m.Read("rotate/mine")["verified"])
			require.Error(t, m.Try(logical.UpdateOperation, "rotate/mine", mounttest.Also(token, "force", true)))
			answer := m.Write("rotate/mine", mounttest.Also(m.NewToken(), "force", true))
			require.NotContains(t, answer.Data, "previous_token_id")
			require.Contains(t, strings.Join(answer.Warnings, "\n"), "is not revoked")
			require.False(t, m.InQueue(id))
			m.Minutes(25 * 60)
			require.True(t, m.Knows(id))
			if name != "config" {
				require.Equal(t, id, m.TokenID("theirs"))
			}
		})
	}
}

func TestDelete_OfAnUnverifiedTokenChangesNoVerifiedRevocation(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	id := mounttest.TextIn(token, "token_id")
	m.Write("roles/mine", mounttest.Also(mounttest.TokenParameters(id, mounttest.SomeSecret), "type", "static", "verify", false))
	m.Write("roles/theirs", mounttest.Also(token, "type", "static"))
	m.Write("rotate/theirs", m.NewToken())
	require.Equal(t, "theirs", m.Read("revocations/" + id)["role"])
	m.Remove("roles/mine", nil)
	require.Equal(t, "theirs", m.Read("revocations/" + id)["role"])
	require.Equal(t, true, m.Read("revocations/" + id)["verified"])
	m.Minutes(25 * 60)
	require.False(t, m.Knows(id))
	require.False(t, m.InQueue(id))
}

func TestMistakes_DoNotRevealWhichRoleOwnsAToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	current := m.AddRole("hidden-team")
	m.Write("rotate/hidden-team", m.NewToken())
	ended, second := current, m.TokenID("hidden-team")
	m.Modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	m.Write("revocations/"+ended, map[string]any{"force": true})
	m.AddRole("personal")
	for _, id := range []string{ended, second} {
		for path, data := range map[string]map[string]any{
			"rotate/personal": mounttest.TokenParameters(id, mounttest.SomeSecret), "roles/new": mounttest.Also(mounttest.TokenParameters(id, mounttest.SomeSecret), "type", "static"),
			"config": mounttest.TokenParameters(id, mounttest.SomeSecret), "config/rotate": mounttest.TokenParameters(id, mounttest.SomeSecret),
		} {
			text := m.Refused(logical.UpdateOperation, path, data)
			require.NotContains(t, text, "hidden-team", path)
		}
	}
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/personal", mounttest.TokenParameters(second, mounttest.SomeSecret)), "another role of this mount")
}

func TestStatic_UnknownEnvironmentGetsAWarning(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	warned := func(resp *logical.Response) string { return strings.Join(resp.Warnings, "\n") }
	const says = "environment nowhere does not exist: the workspace has main, staging"
	require.Contains(t, warned(m.Write("roles/ci", mounttest.Also(m.NewToken(), "type", "static", "environment", "nowhere"))), says)
	require.NotContains(t, warned(m.Write("roles/ci", map[string]any{"environment": "staging"})), "does not exist")
	require.Contains(t, warned(m.Write("roles/ci", map[string]any{"environment": "nowhere"})), says)
	require.Empty(t, m.Write("roles/ci", map[string]any{"grace_period": "2h"}).Warnings, "the warning comes once")
	m.Write("roles/theirs", mounttest.Also(mounttest.TokenData(m.ForeignMember().NewToken()), "type", "static"))
	require.Empty(t, m.Write("roles/theirs", map[string]any{"environment": "nowhere"}).Warnings, "the admin token knows nothing about another workspace")
	m.Modal.SetOutage(true)
	require.Empty(t, m.Write("roles/ci", map[string]any{"environment": "elsewhere"}).Warnings)
	m.Modal.SetOutage(false)
	m.Write("config", map[string]any{"remove_admin_token": true})
	require.Empty(t, m.Write("roles/ci", map[string]any{"environment": "nowhere"}).Warnings)
}

func TestStatic_ImportWarnsThatATokenIsForOneMount(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	const says = "must be used by this mount alone"
	warned := func(path string, data map[string]any) string { return strings.Join(m.Write(path, data).Warnings, "\n") }
	token := mounttest.Also(m.NewToken(), "type", "static")
	require.Contains(t, warned("roles/ci", token), says)
	require.NotContains(t, warned("roles/ci", token), says, "the warning comes once")
	require.Contains(t, warned("rotate/ci", m.NewToken()), says)
	m.Write("roles/later", map[string]any{"type": "static"})
	require.Contains(t, warned("roles/later", m.NewToken()), says)
	require.NotContains(t, warned("roles/keeps", mounttest.Also(m.NewToken(), "type", "static", "revoke_previous", false)), says)
	require.NotContains(t, warned("roles/robot", mounttest.Also(mounttest.TokenData(m.Workspace.AddServiceUser("robot")), "type", "static")), says)
	require.Empty(t, m.Must(logical.ReadOperation, "creds/ci", nil).Warnings)
}

func TestAccount_IsInEventsOfRevokedAndRejectedTokens(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("ci")
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "grace_period", 0))
	m.Minutes(2)
	m.AddRole("kept", map[string]any{"revoke_previous": false})
	m.Write("rotate/kept", m.NewToken())
	m.Modal.DeleteToken(m.TokenID("ci"))
	m.Write("verify/ci", nil)
	for _, kind := range []string{"modal/revoke", "modal/revoke-manual", "modal/token-rejected"} {
		events := m.EventsOf(kind)
		require.NotEmpty(t, events, kind)
		require.Equal(t, "alice", events[0]["identity"], kind)
		require.Equal(t, m.Workspace.ID(), events[0]["workspace_id"], kind)
	}
}

func TestAccount_IsInTheEventOfARejectedAdminToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Modal.DeleteToken(mounttest.TextIn(m.Read("config"), "token_id"))

	m.Clock.Advance(25 * time.Hour)
	m.Tick()

	events := m.EventsOf("modal/token-rejected")
	require.Len(t, events, 1)
	require.Equal(t, "alice", events[0]["identity"])
	require.Equal(t, m.Workspace.ID(), events[0]["workspace_id"])
}

func TestVerify_LeavesATokenToTheRoleThatVerifiedItFirst(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/mine", mounttest.Also(token, "type", "static", "verify", false))
	m.Write("roles/theirs", mounttest.Also(token, "type", "static"))
	require.Equal(t, true, m.Write("verify/mine", nil).Data["accepted"])
	require.Equal(t, false, m.Read("rotate/mine")["verified"])
	m.Write("rotate/theirs", m.NewToken())
	require.Equal(t, true, m.Write("verify/mine", nil).Data["accepted"])
	m.Minutes(24*60 + 5)
	require.False(t, m.Knows(mounttest.TextIn(token, "token_id")), "the role that verified the token decides when the engine revokes it")
	require.Equal(t, false, m.Write("verify/mine", nil).Data["accepted"])
}

func TestConfig_PinIsResolvedByAnyVerification(t *testing.T) {
	t.Parallel()
	for name, resolve := range map[string]func(m *mounttest.Mount, admin map[string]any){
		"of a role": func(m *mounttest.Mount, _ map[string]any) {
			m.Write("config", map[string]any{"pinned_workspace": "acme"})
			require.NotContains(m.T, m.Read("config"), "pinned_workspace_id")
			m.Write("verify/ci", nil)
		},
		"of a role by the worker": func(m *mounttest.Mount, _ map[string]any) {
			m.Write("config", map[string]any{"pinned_workspace": "acme"})
			m.Clock.Advance(25 * time.Hour)
			m.Tick()
		},
		"of the same admin token": func(m *mounttest.Mount, admin map[string]any) {
			m.Write("config", mounttest.Also(admin, "verify", false))
			m.Write("config", mounttest.Also(admin, "pinned_workspace", "acme"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			m.AddRole("ci")

			resolve(m, m.NewToken())

			require.Equal(t, m.Workspace.ID(), m.Read("config")["pinned_workspace_id"])
			m.Workspace.Rename("acme-inc")
			impostor := m.Modal.AddWorkspace("acme").AddMember("mallory")
			require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", mounttest.Also(mounttest.TokenData(impostor.NewToken()), "force", true)), "does not override")
		})
	}
}
