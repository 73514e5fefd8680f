// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// newDynamicMount returns a mount with the dynamic role job.
func newDynamicMount(t *testing.T, fields ...map[string]any) *mounttest.Mount {
	t.Helper()
	m := mounttest.NewManaged(t)
	m.System.MaxLeaseTTLVal = 32 * mounttest.Day
	role := map[string]any{"type": "dynamic", "environment_roles": "main=contributor"}
	for _, more := range fields {
		maps.Copy(role, more)
	}
	m.Write("roles/job", role)
	return m
}

// vaultLease returns a lease as Vault stores it: the internal data pass through JSON.
func vaultLease(t *testing.T, m *mounttest.Mount, resp *logical.Response) *logical.Secret {
	t.Helper()
	raw, err := json.Marshal(resp.Secret.InternalData)
	require.NoError(t, err)
	require.False(t, m.HoldsSecret(string(raw)), "a lease contains IDs only")
	lease := *resp.Secret
	lease.InternalData = nil
	require.NoError(t, json.Unmarshal(raw, &lease.InternalData))
	lease.IssueTime = m.Clock.Now()
	return &lease
}

func TestDynamic_TTLAndMaxTTLAreComparedAsTheRoleStoresThem(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"ttl": "2h", "max_ttl": "4h"})
	for _, write := range []map[string]any{{"max_ttl": "1h"}, {"ttl": "5h"}, {"ttl": "5h", "max_ttl": "3h"}} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "roles/job", write), "is longer than max_ttl")
	}
	for name, write := range map[string]map[string]any{"long": {"ttl": "48h"}, "short": {"max_ttl": "30m"}} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "roles/"+name, mounttest.Also(write, "type", "dynamic", "environment_roles", "main=viewer")), "is longer than max_ttl",
			"the other one has its default")
	}
	m.Write("roles/job", map[string]any{"ttl": "4h"})
	require.Equal(t, int64(4*3600), m.Read("roles/job")["ttl"])
	require.Equal(t, int64(4*3600), m.Read("roles/job")["max_ttl"])
}

func TestCreds_OfADynamicRoleHaveALeaseInEveryForm(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	seen := map[any]bool{}
	for form, keys := range map[string][]string{
		"": {"token_id", "token_secret", "workspace", "profile", "version", "environment", "expires_at", "server_url"}, "/dotenv": {"token_id", "dotenv"},
		"/env": {"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_ENVIRONMENT", "MODAL_SERVER_URL"}, "/toml": {"token_id", "toml"}, "/profile": {"token_id", "toml"},
	} {
		resp := m.Must(logical.ReadOperation, "creds/job"+form, nil)
		require.ElementsMatch(t, keys, slices.Collect(maps.Keys(resp.Data)), "the lease replaces the rotation metadata")
		require.Equal(t, time.Hour, resp.Secret.TTL)
		require.Equal(t, mounttest.Day, resp.Secret.MaxTTL)
		require.True(t, resp.Secret.Renewable)
		id := vaultLease(t, m, resp).InternalData["token_id"]
		require.False(t, seen[id])
		seen[id] = true
	}
	require.Len(t, m.Modal.ServiceUsers(), 5)
	require.Equal(t, int64(5), m.Read("status")["revocations_leased"])
	for _, id := range m.List("revocations") {
		require.Equal(t, "leased", m.Read("revocations/" + id)["state"])
		require.Equal(t, "automatic", m.Read("revocations/" + id)["method"])
	}
	require.Empty(t, m.List("rotate"))
	require.Equal(t, []string{"job"}, m.List("roles"))
	require.Contains(t, m.Refused(logical.ReadOperation, "rotate/job", nil), "is dynamic")
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/job", nil), "vault lease revoke -prefix modal/creds/job")
}

func TestLease_RenewalKeepsItsTermsAndEndsWithTheToken(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"ttl": "1h", "max_ttl": "2h"})
	lease := vaultLease(t, m, m.Must(logical.ReadOperation, "creds/job", nil))
	m.Write("roles/job", map[string]any{"ttl": "10m", "max_ttl": "20m"})
	lease.IssueTime = time.Now() // Vault computes the lease from the real time
	resp, err := m.LeaseRequest(logical.RenewOperation, lease)
	require.NoError(t, err)
	require.InDelta(t, time.Hour, resp.Secret.TTL, float64(time.Minute))
	require.Equal(t, 2*time.Hour, resp.Secret.MaxTTL)
	m.Clock.Advance(2*time.Hour + 10*time.Minute)
	resp, err = m.LeaseRequest(logical.RenewOperation, lease)
	require.NoError(t, err)
	require.LessOrEqual(t, resp.Secret.TTL, 5*time.Minute, "the token expires then")
	m.Remove("roles/job", map[string]any{"force": true})
	resp, err = m.LeaseRequest(logical.RenewOperation, lease)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, mounttest.ErrorText(resp), "has ended or is ending")
}

func TestLease_IsRenewedUpToTheTokensExpiryAtModalAndNotBeyond(t *testing.T) {
	t.Parallel()
	for name, behind := range map[string]time.Duration{"the clocks agree": 0, "the node's clock is behind": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newDynamicMount(t, map[string]any{"ttl": "1h", "max_ttl": "4h"})
			pass := m.FallBehind(behind)
			m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Mangle: func(answer proto.Message) {
				created, _ := answer.(*pb.ServiceUserCreateResponse)
				created.SetExpiresAt(timestamppb.New(m.Clock.Now().Add(behind + 90*time.Minute)))
			}})
			resp := m.Must(logical.ReadOperation, "creds/job", nil)
			require.Equal(t, 90*time.Minute, resp.Secret.MaxTTL)
			require.Contains(t, strings.Join(resp.Warnings, " "), "Modal lets the token expire on ")
			lease := vaultLease(t, m, resp)
			lease.IssueTime = time.Now() // Vault computes the lease from the real time
			pass(89 * time.Minute)
			renewed, err := m.LeaseRequest(logical.RenewOperation, lease)
			require.NoError(t, err)
			require.Equal(t, time.Minute, renewed.Secret.TTL)
			pass(time.Minute)

			refused, err := m.LeaseRequest(logical.RenewOperation, lease)

			require.ErrorIs(t, err, logical.ErrInvalidRequest)
			require.Contains(t, mounttest.ErrorText(refused), "or its token expires: read creds again")
		})
	}
}

func TestLease_RenewalReadsItsTermsFromEitherJSONDecoder(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"ttl": "1h", "max_ttl": "2h"})
	lease := vaultLease(t, m, m.Must(logical.ReadOperation, "creds/job", nil))
	lease.IssueTime = time.Now() // Vault computes the lease from the real time
	lease.InternalData["ttl"], lease.InternalData["max_ttl"] = json.Number("3600"), json.Number("7200")
	resp, err := m.LeaseRequest(logical.RenewOperation, lease)
	require.NoError(t, err)
	require.InDelta(t, time.Hour, resp.Secret.TTL, float64(time.Minute))
	require.Equal(t, 2*time.Hour, resp.Secret.MaxTTL)
}

func TestLease_NextStepNamesTheCommandThatRevokesItNow(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	id := mounttest.TextIn(m.Must(logical.ReadOperation, "creds/job", nil).Data, "token_id")
	entry := m.List("revocations")[0]
	require.Equal(t, "nothing to do: the token ends with its lease, or on 2026-03-02T12:15:00Z at the latest; to revoke the token now: vault write modal/revocations/"+entry+" force=true",
		m.Read("revocations/" + entry)["next_step"])
	require.Equal(t, true, m.Write("revocations/"+entry, map[string]any{"force": true}).Data["revoked"])
	require.False(t, m.Knows(id))
}

func TestLease_TTLIsCutToWholeSeconds(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"ttl": "2h", "max_ttl": "2h"})
	m.System.MaxLeaseTTLVal = 90*time.Minute + 300*time.Millisecond
	resp := m.Must(logical.ReadOperation, "creds/job", nil)
	require.Equal(t, 90*time.Minute, resp.Secret.MaxTTL)
	require.Equal(t, 90*time.Minute, resp.Secret.TTL)
	require.Len(t, resp.Warnings, 2, "a warning must name each limit")
	require.Equal(t, m.Clock.Now().Add(105*time.Minute).Format(time.RFC3339), resp.Data["expires_at"], "a quarter of an hour after the lease")
}

func TestLease_RevocationFailsDuringAnOutageAndThenDeletesTheToken(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	resp := m.Must(logical.ReadOperation, "creds/job", nil)
	lease := vaultLease(t, m, resp)
	id, _ := resp.Data["token_id"].(string)
	m.Modal.SetOutage(true)
	for range 6 {
		_, err := m.LeaseRequest(logical.RevokeOperation, lease)
		require.ErrorContains(t, err, "Modal")
	}
	m.Modal.SetOutage(false)
	m.Minutes(2)
	_, err := m.LeaseRequest(logical.RevokeOperation, lease)
	require.NoError(t, err)
	require.False(t, m.Knows(id))
	_, err = m.LeaseRequest(logical.RevokeOperation, lease)
	require.NoError(t, err, "a second revocation is no error")
}

func TestCreds_OfADynamicRoleNeedANodeThatMayWrite(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t)
	m.SetReplication(consts.ReplicationPerformanceStandby)
	_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: "creds/job", Storage: m.Storage})
	require.ErrorIs(t, err, logical.ErrReadOnly)
	require.Empty(t, m.Modal.Calls("ServiceUserCreate"))
}

func TestCreds_OfADynamicRoleNameTheReasonOfARefusal(t *testing.T) {
	t.Parallel()
	m := newDynamicMount(t, map[string]any{"max_leases": 1})
	m.Must(logical.ReadOperation, "creds/job", nil)
	require.Contains(t, m.Refused(logical.ReadOperation, "creds/job", nil), "max_leases is 1")
	m.Write("roles/job", map[string]any{"max_leases": 0})
	m.Write("config", map[string]any{"max_environment_role": "viewer"})
	require.Contains(t, m.Refused(logical.ReadOperation, "creds/job", nil), "is more than config's max_environment_role")
	m.Write("config", map[string]any{"remove_admin_token": true, "max_environment_role": ""})
	require.Contains(t, m.Refused(logical.ReadOperation, "creds/job", nil), "config has no admin token")
}
