// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestRoles_ReadShowsTheSettingsAndNoToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci", map[string]any{"environment": "main", "refresh_interval": "1m"})

	require.Equal(t, map[string]any{
		"type": "static", "profile": "ci", "environment": "main",
		"refresh_interval": int64(60), "grace_period": int64(86400), "revoke_previous": true, "rotation_period": int64(90 * 86400),
	}, m.Read("roles/ci"))
}

func TestRoles_ListShowsTypeVersionAndNextRotation(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("b")
	m.AddRole("a")
	resp := m.Must(logical.ListOperation, "roles", nil)
	require.Equal(t, []string{"a", "b"}, resp.Data["keys"])
	info, _ := resp.Data["key_info"].(map[string]any)
	require.Equal(t, map[string]any{
		"type": "static", "version": int64(1), "state": "ok", "next_rotation": "2026-05-30T12:00:00Z",
	}, info["b"])
}

func TestRoles_WriteMergesFieldsAndStoresOnlyAChange(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci", map[string]any{"environment": "main", "profile": "work", "refresh_interval": "1m", "grace_period": "1h"})

	m.Write("roles/ci", map[string]any{"environment": "", "refresh_interval": "", "grace_period": "2h"})

	role := m.Read("roles/ci")
	require.NotContains(t, role, "environment", "an empty field is cleared")
	require.Equal(t, int64(300), role["refresh_interval"], "an empty field restores the default")
	require.Equal(t, int64(7200), role["grace_period"])
	require.Equal(t, "work", role["profile"], "an absent field keeps its value")
	m.Storage.Heal()
	m.Write("roles/ci", map[string]any{"grace_period": 7200})
	require.Empty(t, m.Storage.Recorded(), "a write without a change stores nothing")
}

func TestRoles_SameTokenAgainIsAcceptedWithoutAskingModal(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.Also(m.NewToken(), "type", "static")
	m.Write("roles/ci", token)
	before, asked := m.Storage.Snapshot(t), len(m.Modal.Calls("TokenInfoGet"))

	require.Empty(t, m.Write("roles/ci", mounttest.Also(token, "token_id", " "+token["token_id"].(string)+"\n")).Warnings)

	m.UnchangedSince(before)
	require.Len(t, m.Modal.Calls("TokenInfoGet"), asked)
}

func TestRoles_SameTokenAgainWithAnotherFieldStoresTheField(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.Also(m.NewToken(), "type", "static")
	m.Write("roles/ci", token)
	for field, value := range map[string]any{"description": "team gpu", "profile": "work", "environment": "main", "grace_period": int64(7200), "revoke_previous": false} {
		m.Write("roles/ci", mounttest.Also(token, field, value))
		require.Equal(t, value, m.Read("roles/ci")[field], field)
	}
}

func TestRoles_WritingAnUnverifiedTokenAgainVerifiesIt(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.Also(m.NewToken(), "type", "static")
	resp := m.Write("roles/ci", mounttest.Also(token, "verify", false))
	require.Contains(t, resp.Warnings[0], "verify=false")
	before := m.Read("creds/ci")

	m.Write("roles/ci", token)

	after := m.Read("creds/ci")
	require.Equal(t, "acme", after["workspace"])
	require.Equal(t, before["last_vault_rotation"], after["last_vault_rotation"])
	require.Equal(t, before["version"], after["version"])
	require.Equal(t, true, m.Read("rotate/ci")["verified"])
}

func TestRoles_WritingARejectedUnverifiedTokenAgainClearsTheRejection(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("other") // confirms the rejection
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static", "verify", false))
	id := token["token_id"].(string)
	m.Modal.SetDisabled(id, true)
	require.Equal(t, false, m.Write("verify/ci", nil).Data["accepted"])
	require.Equal(t, "rejected", m.Read("rotate/ci")["state"])
	m.Modal.SetDisabled(id, false)

	m.Write("roles/ci", token)

	require.Equal(t, "ok", m.Read("rotate/ci")["state"])
	require.Empty(t, m.Must(logical.ReadOperation, "creds/ci", nil).Warnings)
}

func TestRoles_AnotherTokenIsReferredToRotate(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", m.NewToken()), "vault write modal/rotate/ci")
}

func TestRoles_SameTokenIDWithAnotherSecretIsReferredToRotate(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static", "verify", false, "token_secret", mounttest.SomeSecret))
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", token), "vault write modal/rotate/ci")
}

func TestRoles_ShortGracePeriodGetsAWarning(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	resp := m.Write("roles/ci", map[string]any{"grace_period": "30m", "refresh_interval": "20m"})
	require.Contains(t, resp.Warnings[0], "1h or more is safe")
	require.Empty(t, m.Write("roles/ci", map[string]any{"grace_period": "1h"}).Warnings)
	resp = m.Write("roles/ci", map[string]any{"grace_period": "599s", "refresh_interval": "1m"})
	require.Contains(t, resp.Warnings[0], "10m or more is safe")
	require.Empty(t, m.Write("roles/ci", map[string]any{"grace_period": "10m"}).Warnings)
}

func TestRoles_TokenOfAnUnusualLengthGetsAWarning(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	resp := m.Write("roles/ci", map[string]any{
		"type": "static", "token_id": "ak-short", "token_secret": "as-0000000000000000000000", "verify": false,
	})
	require.Contains(t, resp.Warnings[0], "token_id has 5 characters")
}

func TestRoles_DeleteQueuesTheTokensAndListsThem(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	first := m.AddRole("ci", map[string]any{"revoke_previous": false})
	second := m.NewToken()
	m.Write("rotate/ci", second)
	m.Modal.SetOutage(true)

	resp := m.Remove("roles/ci", nil)

	lines := strings.Join(mounttest.TokensOf(resp), "\n")
	require.Contains(t, lines, "modal workspace member-tokens delete "+first)
	require.Contains(t, lines, "token "+second["token_id"].(string)+" (version 2): the engine does not revoke it, so delete")
	m.Absent("creds/ci")
	require.ElementsMatch(t, []any{first, second["token_id"]}, anySlice(m.List("revocations")))
	require.Contains(t, m.EventTypes(), "modal/role-delete")

	m.Modal.SetOutage(false)
	m.Modal.DeleteToken(first)
	m.Modal.DeleteToken(second["token_id"].(string))
	m.Clock.Advance(25 * time.Hour)
	m.Tick()
	m.Clock.Advance(time.Hour) // no other token can confirm a rejection, so Modal must reject each token twice
	m.Tick()
	require.Empty(t, m.List("revocations"))
	require.ElementsMatch(t, []string{"config"}, mounttest.MapKeys(m.Storage.Snapshot(t)), "nothing is left behind")
}

func TestRoles_DeletingAMissingRoleSucceeds(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	require.Nil(t, m.Remove("roles/none", nil))
}

func anySlice(names []string) []any {
	var all []any
	for _, name := range names {
		all = append(all, name)
	}
	return all
}

func TestWrites_OvertakenByAnotherRequestAreRefused(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("ci")
	m.AddManaged("man")
	// Vault checked only the capability for the operation that it expected: create or update.
	require.Contains(t, m.Overtaken(logical.CreateOperation, "roles/man", map[string]any{"type": "managed", "environment_roles": "main=contributor,staging=contributor"}),
		"another request has created role man in the meantime: read it, then write again")
	require.Contains(t, m.Overtaken(logical.CreateOperation, "roles/ci", mounttest.Also(m.NewToken(), "type", "static")), "another request has created")
	require.Contains(t, m.Overtaken(logical.UpdateOperation, "roles/new", mounttest.Also(m.NewToken(), "type", "static")), "another request has deleted role new in the meantime")
	require.Contains(t, m.Overtaken(logical.CreateOperation, "config", map[string]any{"max_environment_role": ""}), "another request has created config")
	m.Remove("config", nil)
	require.Contains(t, m.Overtaken(logical.UpdateOperation, "config", map[string]any{"max_environment_role": ""}), "another request has deleted config")
}

func TestRoles_CustomRoleIsRefusedByName(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	const refusal = `the role "deployer" is not taken, because the engine cannot read back what a custom role of Modal grants: use viewer or contributor; nothing was changed`
	for form, given := range map[string]any{
		"text": "main=viewer,staging=deployer", "list": []any{"staging=deployer"}, "object": map[string]any{"staging": "deployer"},
	} {
		for _, kind := range []string{"managed", "dynamic"} {
			text := m.Refused(logical.UpdateOperation, "roles/new", map[string]any{"type": kind, "environment_roles": given})
			require.Equal(t, "environment_roles: "+refusal, text, "%s, %s", kind, form)
		}
	}
	require.Equal(t, "max_environment_role: "+refusal, m.Refused(logical.UpdateOperation, "config", map[string]any{"max_environment_role": "deployer"}))
	for _, maybeSecret := range []string{mounttest.SomeSecret[len("as-"):], "rd-" + mounttest.SomeID[len("ak-"):], "\x1b[31m", "a\nb", ""} {
		require.Equal(t, "environment_roles: this role is not taken, because the engine cannot read back what a custom role of Modal grants: use viewer or contributor; nothing was changed",
			m.Refused(logical.UpdateOperation, "roles/new", map[string]any{"type": "managed", "environment_roles": map[string]any{"main": maybeSecret}}))
	}
	require.Empty(t, m.Modal.ServiceUsers())
}

func TestRoles_NoAccessIsLeftOut(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/new", map[string]any{"type": "managed", "environment_roles": "main=viewer,staging=no-access"}),
		"environment_roles: leave an environment out to give no access there, and use viewer or contributor elsewhere")
}
