// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestRoles_ReadShowsTheSettingsAndNoToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci", map[string]any{"environment": "main", "refresh_interval": "1m"})

	require.Equal(t, map[string]any{
		"type": "static", "profile": "ci", "environment": "main",
		"refresh_interval": int64(60), "grace_period": int64(86400), "revoke_previous": true, "rotation_period": int64(90 * 86400),
	}, m.read("roles/ci"))
}

func TestRoles_ListShowsTypeVersionAndNextRotation(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("b")
	m.addRole("a")
	resp := m.must(logical.ListOperation, "roles", nil)
	require.Equal(t, []string{"a", "b"}, resp.Data["keys"])
	info, _ := resp.Data["key_info"].(map[string]any)
	require.Equal(t, map[string]any{
		"type": "static", "version": int64(1), "state": "ok", "next_rotation": "2026-05-30T12:00:00Z",
	}, info["b"])
}

func TestRoles_WriteMergesFieldsAndStoresOnlyAChange(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci", map[string]any{"environment": "main", "profile": "work", "refresh_interval": "1m", "grace_period": "1h"})

	m.write("roles/ci", map[string]any{"environment": "", "refresh_interval": "", "grace_period": "2h"})

	role := m.read("roles/ci")
	require.NotContains(t, role, "environment", "an empty field is cleared")
	require.Equal(t, int64(300), role["refresh_interval"], "an empty field restores the default")
	require.Equal(t, int64(7200), role["grace_period"])
	require.Equal(t, "work", role["profile"], "an absent field keeps its value")
	m.storage.heal()
	m.write("roles/ci", map[string]any{"grace_period": 7200})
	require.Empty(t, m.storage.recorded(), "a write without a change stores nothing")
}

func TestRoles_SameTokenAgainIsAcceptedWithoutAskingModal(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := also(m.newToken(), "type", "static")
	m.write("roles/ci", token)
	before, asked := m.storage.snapshot(t), len(m.modal.Calls("TokenInfoGet"))

	require.Empty(t, m.write("roles/ci", also(token, "token_id", " "+token["token_id"].(string)+"\n")).Warnings)

	m.unchangedSince(before)
	require.Len(t, m.modal.Calls("TokenInfoGet"), asked)
}

func TestRoles_WritingAnUnverifiedTokenAgainVerifiesIt(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := also(m.newToken(), "type", "static")
	resp := m.write("roles/ci", also(token, "verify", false))
	require.Contains(t, resp.Warnings[0], "verify=false")
	before := m.read("creds/ci")

	m.write("roles/ci", token)

	after := m.read("creds/ci")
	require.Equal(t, "acme", after["workspace"])
	require.Equal(t, before["last_vault_rotation"], after["last_vault_rotation"])
	require.Equal(t, before["version"], after["version"])
	require.Equal(t, true, m.read("rotate/ci")["verified"])
}

func TestRoles_AnotherTokenIsReferredToRotate(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/ci", m.newToken()), "vault write modal/rotate/ci")
}

func TestRoles_ShortGracePeriodGetsAWarning(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	resp := m.write("roles/ci", map[string]any{"grace_period": "30m", "refresh_interval": "20m"})
	require.Contains(t, resp.Warnings[0], "1h or more is safe")
	require.Empty(t, m.write("roles/ci", map[string]any{"grace_period": "1h"}).Warnings)
}

func TestRoles_TokenOfAnUnusualLengthGetsAWarning(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	resp := m.write("roles/ci", map[string]any{
		"type": "static", "token_id": "ak-short", "token_secret": "as-0000000000000000000000", "verify": false,
	})
	require.Contains(t, resp.Warnings[0], "token_id has 5 characters")
}

func TestRoles_DeleteQueuesTheTokensAndListsThem(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	first := m.addRole("ci", map[string]any{"revoke_previous": false})
	second := m.newToken()
	m.write("rotate/ci", second)
	m.modal.SetOutage(true)

	resp := m.remove("roles/ci", nil)

	lines := strings.Join(tokensOf(resp), "\n")
	require.Contains(t, lines, "modal workspace member-tokens delete "+first)
	require.Contains(t, lines, "token "+second["token_id"].(string)+" (version 2): the engine does not revoke it, so delete")
	m.absent("creds/ci")
	require.ElementsMatch(t, []any{first, second["token_id"]}, anySlice(m.list("revocations")))
	require.Contains(t, m.eventTypes(), "modal/role-delete")

	m.modal.SetOutage(false)
	m.modal.DeleteToken(first)
	m.modal.DeleteToken(second["token_id"].(string))
	m.clock.advance(25 * time.Hour)
	m.tick()
	m.clock.advance(time.Hour) // no other token can confirm a rejection, so Modal must reject each token twice
	m.tick()
	require.Empty(t, m.list("revocations"))
	require.ElementsMatch(t, []string{"config"}, mapKeys(m.storage.snapshot(t)), "nothing is left behind")
}

func TestRoles_DeletingAMissingRoleSucceeds(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	require.Nil(t, m.remove("roles/none", nil))
}

func anySlice(names []string) []any {
	var all []any
	for _, name := range names {
		all = append(all, name)
	}
	return all
}

func mapKeys(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// overtaken sends a write whose existence check was overtaken by another request. It returns the refusal.
func (m *mount) overtaken(op logical.Operation, path string, data map[string]any) string {
	m.t.Helper()
	before := m.storage.snapshot(m.t)
	resp, err := m.HandleRequest(m.t.Context(), &logical.Request{Operation: op, Path: path, Data: data, Storage: m.storage})
	require.ErrorIs(m.t, err, logical.ErrInvalidRequest)
	m.unchangedSince(before)
	return errorText(resp)
}

func TestWrites_OvertakenByAnotherRequestAreRefused(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("ci")
	m.addManaged("man")
	// Vault checked only the capability for the operation that it expected: create or update.
	require.Contains(t, m.overtaken(logical.CreateOperation, "roles/man", map[string]any{"type": "managed", "environment_roles": "main=contributor,staging=contributor"}),
		"another request has created role man in the meantime: read it, then write again")
	require.Contains(t, m.overtaken(logical.CreateOperation, "roles/ci", also(m.newToken(), "type", "static")), "another request has created")
	require.Contains(t, m.overtaken(logical.UpdateOperation, "roles/new", also(m.newToken(), "type", "static")), "another request has deleted role new in the meantime")
	require.Contains(t, m.overtaken(logical.CreateOperation, "config", map[string]any{"max_environment_role": ""}), "another request has created config")
	m.remove("config", nil)
	require.Contains(t, m.overtaken(logical.UpdateOperation, "config", map[string]any{"max_environment_role": ""}), "another request has deleted config")
}
