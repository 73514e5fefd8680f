// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file check that the engine shows, and checks, which account a token belongs to.

// foreignMember adds a member of another workspace.
func (m *mount) foreignMember() *modaltest.Member {
	m.t.Helper()
	return m.modal.AddWorkspace("globex").AddMember("eve")
}

// storedWorkspace returns the stored workspace of the last verified admin token.
func (m *mount) storedWorkspace() map[string]any {
	m.t.Helper()
	raw, err := m.storage.InmemStorage.Get(m.t.Context(), "workspace")
	require.NoError(m.t, err)
	require.NotNil(m.t, raw)
	var stored struct {
		Entry map[string]any `json:"entry"`
	}
	require.NoError(m.t, json.Unmarshal(raw.Value, &stored))
	return stored.Entry
}

// approved lets a person confirm the approval at a path. It returns a read of the finished approval and the new token.
func (m *mount) approved(path string, who *modaltest.Member) (*logical.Response, modaltest.Token) {
	m.t.Helper()
	flows := m.modal.Flows()
	token, err := m.modal.ApproveFlow(flows[len(flows)-1].ID, who)
	require.NoError(m.t, err)
	var resp *logical.Response
	require.Eventually(m.t, func() bool {
		resp = m.must(logical.ReadOperation, path, nil)
		reason, _ := resp.Data["reason"].(string)
		return resp.Data["state"] == "done" || strings.Contains(reason, token.ID+": ")
	}, 10*time.Second, 10*time.Millisecond, "a refusal is stored before its token is deleted")
	return resp, token
}

func TestConfig_AdminTokenOfAnotherWorkspaceNeedsForce(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(m *mount){
		"while it is stored":   func(*mount) {},
		"after it was removed": func(m *mount) { m.write("config", map[string]any{"remove_admin_token": true}) },
		"after config was deleted": func(m *mount) {
			m.remove("config", nil)
			m.write("config", map[string]any{"server_url": m.modal.URL()})
		},
		"after the process started": func(m *mount) { m.write("config", map[string]any{"remove_admin_token": true}); m.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			require.Equal(t, map[string]any{"id": m.workspace.ID(), "name": "acme"}, m.storedWorkspace())
			leave(m)
			eve := m.foreignMember()
			for _, path := range []string{"config", "config/rotate"} {
				text := m.refused(logical.UpdateOperation, path, tokenData(eve.NewToken()))
				require.Contains(t, text, "force=true")
				require.Contains(t, text, `user "eve" (`+eve.ID()+`) in workspace "globex"`)
				require.Contains(t, text, `workspace "acme" (`+m.workspace.ID()+`)`)
			}
			m.write("config", m.newToken())
			m.write("config", also(tokenData(eve.NewToken()), "force", true))
			require.Equal(t, "globex", m.storedWorkspace()["name"])
		})
	}
}

func TestConfig_UnverifiedAdminTokenIsRefusedOnceAWorkspaceIsKnown(t *testing.T) {
	t.Parallel()
	unverified := func(m *mount) map[string]any { return also(m.newToken(), "verify", false, "force", true) }
	m := newMount(t)
	m.write("config", unverified(m))
	m.write("config", m.newToken())
	require.Contains(t, m.refused(logical.UpdateOperation, "config", unverified(m)), "write again without verify=false")
	m.write("config", map[string]any{"remove_admin_token": true})
	require.Contains(t, m.refused(logical.UpdateOperation, "config", unverified(m)), "write again without verify=false")

	pinned := newMount(t)
	pinned.write("config", map[string]any{"pinned_workspace": "acme"})
	require.Contains(t, pinned.refused(logical.UpdateOperation, "config", unverified(pinned)), "bring the token with verify=true")
}

func TestConfig_ForceDoesNotOverrideThePinnedWorkspace(t *testing.T) {
	t.Parallel()
	for name, pinned := range map[string]func(m *mount) string{
		"by name": func(*mount) string { return "acme" }, "by ID": func(m *mount) string { return m.workspace.ID() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			m.addRole("ci")
			m.write("roles/empty", map[string]any{"type": "static"})
			m.write("config", map[string]any{"pinned_workspace": pinned(m)})
			eve := m.foreignMember()
			for _, path := range []string{"config", "config/rotate", "roles/new", "roles/empty", "rotate/ci", "rotate/empty"} {
				data := also(tokenData(eve.NewToken()), "force", true)
				if strings.HasPrefix(path, "roles/") {
					data = also(data, "type", "static")
				}
				text := m.refused(logical.UpdateOperation, path, data)
				require.Contains(t, text, `in workspace "globex"`, path)
				require.Contains(t, text, "force=true does not override that", path)
				if path == "config/rotate" {
					continue
				}
				require.Contains(t, m.refused(logical.UpdateOperation, path, also(data, "verify", false)), "bring the token with verify=true", path)
			}
			for _, path := range []string{"config/approval", "rotate/ci/approval"} {
				m.write(path, map[string]any{"force": true})
				resp, wrong := m.approved(path, eve)
				require.Equal(t, "refused", resp.Data["state"], path)
				require.Equal(t, "globex", resp.Data["workspace"])
				require.Contains(t, resp.Data["reason"], "it deleted itself")
				require.False(t, m.modal.Accepts(wrong.ID, wrong.Secret))
			}
			m.write("config", m.newToken())
			m.write("rotate/ci", m.newToken())
		})
	}
}

func TestConfig_PinSurvivesARenamedWorkspace(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", map[string]any{"pinned_workspace": "acme"})
	require.NotContains(t, m.read("config"), "pinned_workspace_id", "Modal was not asked yet")
	m.addRole("ci")
	require.Equal(t, m.workspace.ID(), m.read("config")["pinned_workspace_id"])

	m.workspace.Rename("acme-inc")
	impostor := m.modal.AddWorkspace("acme").AddMember("mallory")

	m.write("rotate/ci", m.newToken())
	m.write("config", m.newToken())
	require.Equal(t, "acme", m.read("config")["pinned_workspace"])
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", also(tokenData(impostor.NewToken()), "force", true)), "does not override")
	m.write("config", map[string]any{"pinned_workspace": ""})
	require.Contains(t, m.refused(logical.UpdateOperation, "config", map[string]any{"pinned_workspace": "acme"}), `in workspace "acme-inc"`,
		"the stored admin token belongs to another workspace")
	m.write("config", map[string]any{"pinned_workspace": m.workspace.ID()})
}

func TestConfig_RefusalListsEverythingThatForceWouldAccept(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("ci")
	m.addManaged("gpu")
	pem := modaltest.Start(t, modaltest.WithTLS()).CACert()
	write := also(tokenData(m.foreignMember().NewToken()), "ca_cert", pem)

	text := m.refused(logical.UpdateOperation, "config", write)

	require.Contains(t, text, `another workspace: admin token `+textIn(write, "token_id")+` belongs to user "eve"`)
	require.Contains(t, text, "other certificates: ")
	require.Contains(t, text, "the secrets of 3 stored tokens of this mount")
	m.write("config", also(write, "force", true))
}

func TestConfig_WriteSaysThatTheEngineIsPaused(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	require.Equal(t, false, m.write("config", map[string]any{"request_timeout": "20s"}).Data["paused"])
	paused := "the engine is paused, so it does nothing by itself until: vault write modal/config paused=false"
	answer := m.write("config", map[string]any{"paused": true}).Data
	require.Equal(t, true, answer["paused"])
	require.Contains(t, answer["next_step"], paused)
	rotated := m.write("config/rotate", m.newToken()).Data
	require.Equal(t, true, rotated["paused"])
	require.Contains(t, rotated["next_step"], paused)
	require.Contains(t, strings.Join(m.write("config", m.newToken()).Warnings, "\n"), paused)
	require.NotContains(t, m.write("config", map[string]any{"paused": false}).Data["next_step"], "paused")
}

// eventsOf returns the metadata of all events of a type, the newest last.
func (m *mount) eventsOf(kind string) (all []map[string]any) {
	m.t.Helper()
	m.events.Lock()
	defer m.events.Unlock()
	for _, event := range m.events.Events {
		if string(event.Type) == kind {
			all = append(all, event.Event.GetMetadata().AsMap())
		}
	}
	return all
}

func TestAccount_IsInEveryLogLineAndEventOfATokenChange(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("roles/empty", map[string]any{"type": "static"})
	m.addRole("ci")
	bob := m.workspace.AddMember("bob")
	bob.SetRole(modaltest.RoleManager)
	for _, change := range []struct {
		path string
		data map[string]any
		kind string
		line string
		who  *modaltest.Member
	}{
		{"config", tokenData(bob.NewToken()), "modal/config-write", "config written", bob},
		{"config/rotate", m.newToken(), "modal/config-write", "config written", m.member},
		{"config", map[string]any{"remove_admin_token": true}, "modal/config-write", "config written", m.member},
		{"roles/new", also(tokenData(bob.NewToken()), "type", "static"), "modal/role-write", "role written", bob},
		{"roles/empty", tokenData(bob.NewToken()), "modal/role-write", "role written", bob},
		{"rotate/ci", also(tokenData(bob.NewToken()), "force", true), "modal/rotate", "rotated", bob},
	} {
		answer := m.write(change.path, change.data).Data

		id := textIn(change.data, "token_id")
		events := m.eventsOf(change.kind)
		event := events[len(events)-1]
		require.Equal(t, "acme", event["workspace"], change.path)
		require.Equal(t, m.workspace.ID(), event["workspace_id"], change.path)
		require.Equal(t, change.who.Username(), event["identity"], change.path)
		require.Equal(t, change.who.ID(), event["identity_id"], change.path)
		line := m.lineWith(change.line)
		require.Contains(t, line, change.who.Username(), change.path)
		require.Contains(t, line, "acme", change.path)
		if id != "" {
			require.Equal(t, id, event["token_id"], change.path)
			require.Contains(t, line, id, change.path)
			require.Equal(t, "acme", answer["workspace"], change.path)
			require.Equal(t, change.who.Username(), answer["identity"], change.path)
		}
	}
	m.remove("roles/new", nil)
	deleted := m.eventsOf("modal/role-delete")
	require.Equal(t, "bob", deleted[0]["identity"])
	require.Contains(t, m.lineWith("role deleted"), "bob")
	m.write("config", m.newToken())
	m.remove("config", nil)
	require.Contains(t, m.lineWith("config deleted"), "alice")
}

// lineWith returns the newest log line that contains a text.
func (m *mount) lineWith(text string) string {
	m.t.Helper()
	lines := m.lines()
	for i := range lines {
		if line := lines[len(lines)-1-i]; strings.Contains(line, text) {
			return line
		}
	}
	m.t.Fatalf("no log line contains %q", text)
	return ""
}

func TestApproval_OnlyTheFirstAnswerContainsURLAndCode(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.modal.Inject("TokenFlowWait", modaltest.Fault{Code: codes.Unavailable, Times: 1})
	for _, path := range []string{"rotate/ci/approval", "config/approval"} {
		begun := m.write(path, map[string]any{"force": true}).Data
		flows := m.modal.Flows()
		flow := flows[len(flows)-1]
		require.Equal(t, flow.URL, begun["url"])
		require.Equal(t, flow.Code, begun["code"])
		require.Contains(t, begun["next_step"], "open url in a browser, compare the code")

		read := m.read(path)
		again := m.refused(logical.UpdateOperation, path, nil)
		require.NotContains(t, read, "url")
		require.NotContains(t, read, "code")
		require.Contains(t, read["next_step"], "if the url is lost, cancel with: vault delete modal/"+path)
		require.Contains(t, again, "only the answer to the write that began it contained its url")
		require.Contains(t, again, "vault delete modal/"+path+", then begin again with: vault write -f modal/"+path)
		m.remove(path, nil)
		require.NoError(t, m.modal.DenyFlow(flow.ID))
		m.tick()
		told := toJSON(t, read) + again + toJSON(t, m.read(path)) + m.logs.String()
		require.NotContains(t, told, flow.ID)
		require.NotContains(t, told, flow.Code)
	}
}

func TestApproval_WhenDoneNamesTheAccountAndThePreviousToken(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	before := m.read("config")["token_id"]
	bob := m.workspace.AddMember("bob")
	bob.SetRole(modaltest.RoleManager)
	m.write("config/approval", nil)
	resp, token := m.approved("config/approval", bob)
	require.Equal(t, "done", resp.Data["state"])
	require.Equal(t, "bob", resp.Data["identity"], "the workspace is pinned, not the person")
	require.Equal(t, bob.ID(), resp.Data["identity_id"])
	require.Equal(t, "user", resp.Data["identity_type"])
	require.Equal(t, "acme", resp.Data["workspace"])
	require.Equal(t, m.workspace.ID(), resp.Data["workspace_id"])
	require.Equal(t, token.ID, resp.Data["token_id"])
	require.Equal(t, before, resp.Data["previous_token_id"])
	require.Contains(t, m.lineWith("approval ended"), "bob")

	first := m.addRole("ci")
	m.write("rotate/ci/approval", nil)
	resp, token = m.approved("rotate/ci/approval", m.member)
	require.Equal(t, "done", resp.Data["state"])
	require.Equal(t, "alice", resp.Data["identity"])
	require.Equal(t, first, resp.Data["previous_token_id"])
	require.Equal(t, int64(2), resp.Data["version"])
	require.Equal(t, token.ID, m.tokenID("ci"))
}

func TestApproval_RefusesAnotherWorkspaceAfterAdminTokenRemoval(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	m.write("config", map[string]any{"remove_admin_token": true})
	require.Empty(t, m.write("config/approval", nil).Warnings)
	resp, wrong := m.approved("config/approval", m.foreignMember())
	require.Equal(t, "refused", resp.Data["state"])
	require.Contains(t, resp.Data["reason"], `workspace "acme"`)
	require.Equal(t, "eve", resp.Data["identity"])
	require.NotContains(t, m.read("config"), "token_id")
	require.False(t, m.modal.Accepts(wrong.ID, wrong.Secret))
}

func TestApproval_FirstTokenMayBeOfAnyWorkspaceAndGetsAWarning(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	warnings := strings.Join(m.write("config/approval", nil).Warnings, "\n")
	require.Contains(t, warnings, "the person who opens the url can use any account")
	require.Contains(t, warnings, "pinned_workspace=")
	eve := m.foreignMember()
	resp, _ := m.approved("config/approval", eve)
	require.Equal(t, "done", resp.Data["state"])
	require.Equal(t, "globex", resp.Data["workspace"])
	require.Contains(t, resp.Data["reason"], `user "eve"`)
	require.Contains(t, resp.Data["reason"], "vault write modal/config pinned_workspace="+textIn(resp.Data, "workspace_id"))

	m.write("roles/ci", map[string]any{"type": "static"})
	require.Contains(t, strings.Join(m.write("rotate/ci/approval", nil).Warnings, "\n"), "pinned_workspace=")
	m.remove("rotate/ci/approval", nil)
	require.Empty(t, m.write("rotate/ci/approval", map[string]any{"pinned_workspace": "acme"}).Warnings)
	require.Equal(t, "acme", m.read("rotate/ci/approval")["pinned_workspace"])
	refused, _ := m.approved("rotate/ci/approval", eve)
	require.Equal(t, "refused", refused.Data["state"])
	require.Contains(t, refused.Data["reason"], "the approval's pinned_workspace is acme")
}

func TestStatic_UnverifiedTokenNeverReplacesAnAcceptedSecret(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := textIn(m.read("config"), "token_id")
	m.write("config", map[string]any{"remove_admin_token": true})
	require.Equal(t, "manual", m.read("revocations/" + id)["method"])
	m.addRole("ci")
	wrong := also(tokenParameters(id, someSecret), "verify", false)
	for path, data := range map[string]map[string]any{
		"roles/mine": also(wrong, "type", "static"), "rotate/ci": also(wrong, "force", true),
	} {
		require.Contains(t, m.refused(logical.UpdateOperation, path, data), "with another secret, which Modal has accepted", path)
	}
	require.True(t, m.inQueue(id))

	token := m.newToken()
	m.write("roles/back", also(token, "type", "static"))
	m.remove("roles/back", nil)
	m.write("roles/back", also(token, "type", "static", "verify", false))
	require.Equal(t, "alice", m.read("rotate/back")["identity"], "the role has the secret that Modal accepted")
	require.Equal(t, true, m.read("rotate/back")["verified"])
}

func TestStatic_UnverifiedTokenDoesNotBlockTheVerifiedToken(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(m *mount, token map[string]any){
		"config": func(m *mount, token map[string]any) { m.write("config", token) },
		"another role": func(m *mount, token map[string]any) {
			m.write("roles/theirs", also(token, "type", "static"))
		},
		"a rotation of another role": func(m *mount, token map[string]any) {
			m.addRole("theirs")
			m.write("rotate/theirs", token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			token := m.newToken()
			id := textIn(token, "token_id")
			m.write("roles/mine", also(tokenParameters(id, someSecret), "type", "static", "verify", false))

			take(m, token)

			resp := m.must(logical.ReadOperation, "creds/mine", nil)
			require.Len(t, resp.Warnings, 1)
			require.Contains(t, resp.Warnings[0], "another role of this mount or config has it as a verified token: replace it with: vault write modal/rotate/mine")
			require.NotContains(t, resp.Warnings[0], "theirs")
			require.Contains(t, m.lineWith("verified elsewhere"), "role=mine")
			require.Error(t, m.try(logical.UpdateOperation, "roles/mine", token), "two roles never share a verified token")
			m.write("verify/mine", nil)
			require.Equal(t, false, m.read("rotate/mine")["verified"])
			require.Error(t, m.try(logical.UpdateOperation, "rotate/mine", also(token, "force", true)))
			answer := m.write("rotate/mine", also(m.newToken(), "force", true))
			require.NotContains(t, answer.Data, "previous_token_id")
			require.Contains(t, strings.Join(answer.Warnings, "\n"), "is not revoked")
			require.False(t, m.inQueue(id))
			m.minutes(25 * 60)
			require.True(t, m.knows(id))
			if name != "config" {
				require.Equal(t, id, m.tokenID("theirs"))
			}
		})
	}
}

func TestDelete_OfAnUnverifiedTokenChangesNoVerifiedRevocation(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken()
	id := textIn(token, "token_id")
	m.write("roles/mine", also(tokenParameters(id, someSecret), "type", "static", "verify", false))
	m.write("roles/theirs", also(token, "type", "static"))
	m.write("rotate/theirs", m.newToken())
	require.Equal(t, "theirs", m.read("revocations/" + id)["role"])
	m.remove("roles/mine", nil)
	require.Equal(t, "theirs", m.read("revocations/" + id)["role"])
	require.Equal(t, true, m.read("revocations/" + id)["verified"])
	m.minutes(25 * 60)
	require.False(t, m.knows(id))
	require.False(t, m.inQueue(id))
}

func TestMistakes_DoNotRevealWhichRoleOwnsAToken(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	current := m.addRole("hidden-team")
	m.write("rotate/hidden-team", m.newToken())
	ended, second := current, m.tokenID("hidden-team")
	m.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	m.write("revocations/"+ended, map[string]any{"force": true})
	m.addRole("personal")
	for _, id := range []string{ended, second} {
		for path, data := range map[string]map[string]any{
			"rotate/personal": tokenParameters(id, someSecret), "roles/new": also(tokenParameters(id, someSecret), "type", "static"),
			"config": tokenParameters(id, someSecret), "config/rotate": tokenParameters(id, someSecret),
		} {
			text := m.refused(logical.UpdateOperation, path, data)
			require.NotContains(t, text, "hidden-team", path)
		}
	}
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/personal", tokenParameters(second, someSecret)), "another role of this mount")
}

func TestStatic_UnknownEnvironmentGetsAWarning(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	warned := func(resp *logical.Response) string { return strings.Join(resp.Warnings, "\n") }
	const says = "environment nowhere does not exist: the workspace has main, staging"
	require.Contains(t, warned(m.write("roles/ci", also(m.newToken(), "type", "static", "environment", "nowhere"))), says)
	require.NotContains(t, warned(m.write("roles/ci", map[string]any{"environment": "staging"})), "does not exist")
	require.Contains(t, warned(m.write("roles/ci", map[string]any{"environment": "nowhere"})), says)
	require.Empty(t, m.write("roles/ci", map[string]any{"grace_period": "2h"}).Warnings, "the warning comes once")
	m.write("roles/theirs", also(tokenData(m.foreignMember().NewToken()), "type", "static"))
	require.Empty(t, m.write("roles/theirs", map[string]any{"environment": "nowhere"}).Warnings, "the admin token knows nothing about another workspace")
	m.modal.SetOutage(true)
	require.Empty(t, m.write("roles/ci", map[string]any{"environment": "elsewhere"}).Warnings)
	m.modal.SetOutage(false)
	m.write("config", map[string]any{"remove_admin_token": true})
	require.Empty(t, m.write("roles/ci", map[string]any{"environment": "nowhere"}).Warnings)
}

func TestStatic_ImportWarnsThatATokenIsForOneMount(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	const says = "must be used by this mount alone"
	warned := func(path string, data map[string]any) string { return strings.Join(m.write(path, data).Warnings, "\n") }
	token := also(m.newToken(), "type", "static")
	require.Contains(t, warned("roles/ci", token), says)
	require.NotContains(t, warned("roles/ci", token), says, "the warning comes once")
	require.Contains(t, warned("rotate/ci", m.newToken()), says)
	m.write("roles/later", map[string]any{"type": "static"})
	require.Contains(t, warned("roles/later", m.newToken()), says)
	require.NotContains(t, warned("roles/keeps", also(m.newToken(), "type", "static", "revoke_previous", false)), says)
	require.NotContains(t, warned("roles/robot", also(tokenData(m.workspace.AddServiceUser("robot")), "type", "static")), says)
	require.Empty(t, m.must(logical.ReadOperation, "creds/ci", nil).Warnings)
}

func TestAccount_IsInEventsOfRevokedAndRejectedTokens(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("ci")
	m.write("rotate/ci", also(m.newToken(), "grace_period", 0))
	m.minutes(2)
	m.addRole("kept", map[string]any{"revoke_previous": false})
	m.write("rotate/kept", m.newToken())
	m.modal.DeleteToken(m.tokenID("ci"))
	m.write("verify/ci", nil)
	for _, kind := range []string{"modal/revoke", "modal/revoke-manual", "modal/token-rejected"} {
		events := m.eventsOf(kind)
		require.NotEmpty(t, events, kind)
		require.Equal(t, "alice", events[0]["identity"], kind)
		require.Equal(t, m.workspace.ID(), events[0]["workspace_id"], kind)
	}
}

func TestVerify_LeavesATokenToTheRoleThatVerifiedItFirst(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken()
	m.write("roles/mine", also(token, "type", "static", "verify", false))
	m.write("roles/theirs", also(token, "type", "static"))
	require.Equal(t, true, m.write("verify/mine", nil).Data["accepted"])
	require.Equal(t, false, m.read("rotate/mine")["verified"])
	m.write("rotate/theirs", m.newToken())
	require.Equal(t, true, m.write("verify/mine", nil).Data["accepted"])
	m.minutes(24*60 + 5)
	require.False(t, m.knows(textIn(token, "token_id")), "the role that verified the token decides when the engine revokes it")
	require.Equal(t, false, m.write("verify/mine", nil).Data["accepted"])
}
