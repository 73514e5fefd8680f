// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// newDynamicMount returns a mount with the dynamic role job.
func newDynamicMount(t *testing.T, fields ...map[string]any) *mount {
	t.Helper()
	m := newManagedMount(t)
	m.system.MaxLeaseTTLVal = 32 * day
	role := map[string]any{"type": "dynamic", "environment_roles": "main=contributor"}
	for _, more := range fields {
		maps.Copy(role, more)
	}
	m.write("roles/job", role)
	return m
}

// vaultLease returns a lease as Vault stores it: the internal data pass through JSON.
func vaultLease(t *testing.T, m *mount, resp *logical.Response) *logical.Secret {
	t.Helper()
	raw, err := json.Marshal(resp.Secret.InternalData)
	require.NoError(t, err)
	for _, secret := range m.modal.Secrets() {
		require.NotContains(t, string(raw), secret, "a lease contains IDs only")
	}
	lease := *resp.Secret
	lease.InternalData = nil
	require.NoError(t, json.Unmarshal(raw, &lease.InternalData))
	lease.IssueTime = m.clock.now()
	return &lease
}

// leaseRequest renews or revokes a lease of the role job.
func (m *mount) leaseRequest(op logical.Operation, lease *logical.Secret) (*logical.Response, error) {
	return m.HandleRequest(m.t.Context(), &logical.Request{Operation: op, Path: "creds/job", Secret: lease, Storage: m.storage, MountPoint: cmp.Or(m.at, "modal/")})
}

func TestCreds_OfADynamicRoleHaveALeaseInEveryForm(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	seen := map[any]bool{}
	for form, keys := range map[string][]string{
		"": {"token_id", "token_secret", "workspace", "profile", "version", "environment", "expires_at", "server_url"}, "/dotenv": {"token_id", "dotenv"},
		"/env": {"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_ENVIRONMENT", "MODAL_SERVER_URL"}, "/toml": {"token_id", "toml"}, "/profile": {"token_id", "toml"},
	} {
		resp := m.must(logical.ReadOperation, "creds/job"+form, nil)
		require.ElementsMatch(t, keys, slices.Collect(maps.Keys(resp.Data)), "the lease replaces the rotation metadata")
		require.Equal(t, time.Hour, resp.Secret.TTL)
		require.Equal(t, day, resp.Secret.MaxTTL)
		require.True(t, resp.Secret.Renewable)
		id := vaultLease(t, m, resp).InternalData["token_id"]
		require.False(t, seen[id])
		seen[id] = true
	}
	require.Len(t, m.modal.ServiceUsers(), 5)
	require.Equal(t, int64(5), m.read("status")["revocations_leased"])
	for _, id := range m.list("revocations") {
		require.Equal(t, "leased", m.read("revocations/" + id)["state"])
		require.Equal(t, "automatic", m.read("revocations/" + id)["method"])
	}
	require.Empty(t, m.list("rotate"))
	require.Equal(t, []string{"job"}, m.list("roles"))
	require.Contains(t, m.refused(logical.ReadOperation, "rotate/job", nil), "is dynamic")
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/job", nil), "vault lease revoke -prefix modal/creds/job")
}

func TestLease_RenewalKeepsItsTermsAndEndsWithTheToken(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"ttl": "1h", "max_ttl": "2h"})
	lease := vaultLease(t, m, m.must(logical.ReadOperation, "creds/job", nil))
	m.write("roles/job", map[string]any{"ttl": "10m", "max_ttl": "20m"})
	lease.IssueTime = time.Now() // Vault computes the lease from the real time
	resp, err := m.leaseRequest(logical.RenewOperation, lease)
	require.NoError(t, err)
	require.InDelta(t, time.Hour, resp.Secret.TTL, float64(time.Minute))
	require.Equal(t, 2*time.Hour, resp.Secret.MaxTTL)
	m.clock.advance(2*time.Hour + 10*time.Minute)
	resp, err = m.leaseRequest(logical.RenewOperation, lease)
	require.NoError(t, err)
	require.LessOrEqual(t, resp.Secret.TTL, 5*time.Minute, "the token expires then")
	m.remove("roles/job", map[string]any{"force": true})
	resp, err = m.leaseRequest(logical.RenewOperation, lease)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, errorText(resp), "has ended or is ending")
}

func TestLease_NextStepNamesTheCommandThatRevokesItNow(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	id := textIn(m.must(logical.ReadOperation, "creds/job", nil).Data, "token_id")
	entry := m.list("revocations")[0]
	require.Equal(t, "nothing to do: the token ends with its lease, or on 2026-03-02T12:15:00Z at the latest; to revoke the token now: vault write modal/revocations/"+entry+" force=true",
		m.read("revocations/" + entry)["next_step"])
	require.Equal(t, true, m.write("revocations/"+entry, map[string]any{"force": true}).Data["revoked"])
	require.False(t, m.knows(id))
}

func TestLease_TTLIsCutToWholeSeconds(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"ttl": "2h", "max_ttl": "2h"})
	m.system.MaxLeaseTTLVal = 90*time.Minute + 300*time.Millisecond
	resp := m.must(logical.ReadOperation, "creds/job", nil)
	require.Equal(t, 90*time.Minute, resp.Secret.MaxTTL)
	require.Equal(t, 90*time.Minute, resp.Secret.TTL)
	require.Equal(t, m.clock.now().Add(105*time.Minute).Format(time.RFC3339), resp.Data["expires_at"], "a quarter of an hour after the lease")
}

func TestLease_RevocationFailsDuringAnOutageAndThenDeletesTheToken(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	resp := m.must(logical.ReadOperation, "creds/job", nil)
	lease := vaultLease(t, m, resp)
	id, _ := resp.Data["token_id"].(string)
	m.modal.SetOutage(true)
	for range 6 {
		_, err := m.leaseRequest(logical.RevokeOperation, lease)
		require.ErrorContains(t, err, "Modal")
	}
	m.modal.SetOutage(false)
	m.minutes(2)
	_, err := m.leaseRequest(logical.RevokeOperation, lease)
	require.NoError(t, err)
	require.False(t, m.knows(id))
	_, err = m.leaseRequest(logical.RevokeOperation, lease)
	require.NoError(t, err, "a second revocation is no error")
}

func TestCreds_OfADynamicRoleNeedANodeThatMayWrite(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	m.setReplication(consts.ReplicationPerformanceStandby)
	_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/job", Storage: m.storage})
	require.ErrorIs(t, err, logical.ErrReadOnly)
	require.Empty(t, m.modal.Calls("ServiceUserCreate"))
}

func TestCreds_OfADynamicRoleNameTheReasonOfARefusal(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"max_leases": 1})
	m.must(logical.ReadOperation, "creds/job", nil)
	require.Contains(t, m.refused(logical.ReadOperation, "creds/job", nil), "max_leases is 1")
	m.write("roles/job", map[string]any{"max_leases": 0})
	m.write("config", map[string]any{"max_environment_role": "viewer"})
	require.Contains(t, m.refused(logical.ReadOperation, "creds/job", nil), "is more than config's max_environment_role")
	m.write("config", map[string]any{"remove_admin_token": true, "max_environment_role": ""})
	require.Contains(t, m.refused(logical.ReadOperation, "creds/job", nil), "config has no admin token")
}
