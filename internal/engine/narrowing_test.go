// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// granting returns a write of a role's environment roles.
func granting(name string, roles map[string]modalapi.EnvironmentRole) model.RoleWrite {
	return model.RoleWrite{Name: name, Access: model.AccessWrite{EnvironmentRoles: to(roles), Given: []string{"environment_roles"}}}
}

// bothEnvironments gives a new role contributor in both environments.
func bothEnvironments(ask *model.RoleWrite) {
	ask.Access.EnvironmentRoles = to(map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor, "staging": modalapi.RoleContributor})
}

var mainViewer = map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}

func TestNarrowing_RemovesTheRightsOfRunningLeasesAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", bothEnvironments)
	h.dynamic("other", bothEnvironments)
	lease, others := h.lease("job"), h.lease("other")

	require.Empty(t, h.warnings(granting("job", mainViewer)))

	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(lease.Cred.ID))
	require.Equal(t, map[string]string{"main": "contributor", "staging": "contributor"}, h.rolesOf(others.Cred.ID))
	require.NoError(t, h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID), "a lease with the role's rights must be renewable")
	require.Contains(t, h.recorded.lines(), "role=job token_id="+lease.Cred.ID+" environment_roles=main=viewer\n")
}

func TestNarrowing_GivesARunningLeaseNothingNew(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	before := h.modal.CallCount()

	h.write(granting("job", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor, "staging": modalapi.RoleViewer}))

	require.Equal(t, before, h.modal.CallCount(), "a wider role must not call Modal")
	require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(lease.Cred.ID))
	require.NoError(t, h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID))

	h.write(granting("job", map[string]modalapi.EnvironmentRole{"staging": modalapi.RoleContributor}))

	require.Equal(t, map[string]string{"main": "no-access"}, h.rolesOf(lease.Cred.ID))
}

func TestNarrowing_CountsTheLeasesThatKeepTheirRightsAndRenewsNone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", bothEnvironments)
	kept := []*Lease{h.lease("job"), h.lease("job"), h.lease("job")}
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Message: "not today", Times: -1, Match: func(call modaltest.Call) bool {
		return call.Target == kept[0].Cred.IdentityID || call.Target == kept[1].Cred.IdentityID
	}})

	warnings := h.warnings(granting("job", mainViewer))

	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "running leases of role job that keep more rights than the role now allows: 2 (")
	require.Contains(t, warnings[0], "not today")
	require.Contains(t, warnings[0], "vault lease revoke -prefix modal/creds/job")
	require.Equal(t, "viewer", h.rolesOf(kept[2].Cred.ID)["main"])
	err := h.engine.Leases.CheckRenewable(t.Context(), kept[0].RevocationID)
	require.ErrorContains(t, err, "not today")
	require.ErrorContains(t, err, "read modal/creds/… again")

	h.modal.ClearFaults()

	require.NoError(t, h.engine.Leases.CheckRenewable(t.Context(), kept[0].RevocationID), "a renewal must first remove the rights")
	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(kept[0].Cred.ID))
	require.Equal(t, "contributor", h.rolesOf(kept[1].Cred.ID)["main"])
	require.Empty(t, h.warnings(granting("job", mainViewer)), "the same write again must warn about nothing")
	require.Equal(t, "viewer", h.rolesOf(kept[1].Cred.ID)["main"])
}

func TestNarrowing_ScopedCountsTheLeasesThatModalCannotChange(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", func(ask *model.RoleWrite) { ask.Access.Scoped = to(false) })
	lease := h.lease("job")

	warnings := h.warnings(model.RoleWrite{Name: "job", Access: model.AccessWrite{Scoped: to(true), Given: []string{"scoped"}}})

	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "running leases of role job that stay scoped=false, because Modal sets scoped only when it creates a service user: 1;")
	require.Contains(t, warnings[0], "vault lease revoke -prefix modal/creds/job")
	require.ErrorContains(t, h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID), "scoped=false")
	require.NoError(t, h.engine.Leases.End(t.Context(), lease.RevocationID), "the recommended command must end the lease")
	require.Empty(t, h.warnings(model.RoleWrite{Name: "job", Access: model.AccessWrite{Scoped: to(true), Given: []string{"scoped"}}}))
}

func TestNarrowing_StopsAtTheTimeLimitOfOneRequest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		b.workspace.AddEnvironment("staging")
		b.dynamic("job", bothEnvironments)
		for range 60 { // the last ones are not reached
			b.lease("job")
		}
		b.modal.Inject("ServiceUserInfo", modaltest.Fault{Delay: 14 * time.Second, Times: -1})
		began := time.Now()

		warnings := b.warnings(granting("job", mainViewer))

		require.LessOrEqual(t, time.Since(began), narrowBudget+state.BriefBudget)
		require.Len(t, warnings, 1)
		var wide int
		for _, user := range b.modal.ServiceUsers() {
			if user.Roles["main"] != "viewer" {
				wide++
			}
		}
		require.Contains(t, warnings[0], fmt.Sprintf("running leases of role job that keep more rights than the role now allows: %d (", wide))
		b.modal.ClearFaults()
		require.Empty(t, b.warnings(granting("job", mainViewer)))
		for _, user := range b.modal.ServiceUsers() {
			require.Equal(t, "viewer", user.Roles["main"])
		}
	})
}

func TestNarrowing_DoesNotWarnAboutALeaseThatIsGoneAtModal(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", bothEnvironments)
	h.modal.DeleteToken(h.lease("job").Cred.ID)
	require.Empty(t, h.warnings(granting("job", mainViewer)))
}

func TestLease_IsRefusedIfItsRoleIsNarrowedOrDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		does func(h *harness)
		says string
	}{
		"narrowed": {func(h *harness) { h.write(granting("job", mainViewer)) }, "role job was changed or deleted during this read: read it again"},
		"lowered": {func(h *harness) {
			h.write(granting("job", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor, "staging": modalapi.RoleViewer}))
		}, "role job was changed or deleted during this read: read it again"},
		"deleted":  {func(h *harness) { h.deleteRole("job") }, "role job was changed or deleted during this read: read it again"},
		"ceilings": {func(h *harness) { h.configure(model.ConfigWrite{MaxEnvironmentRole: to(modalapi.RoleViewer)}) }, "max_environment_role"},
	} {
		for _, rpc := range []string{"ServiceUserCreate", "EnvironmentRoleSet", "TokenInfoGet", "ServiceUserInfo"} {
			t.Run(name+" at "+rpc, func(t *testing.T) {
				t.Parallel()
				h := newHarness(t)
				h.dynamic("job", bothEnvironments)
				gate := h.gateAt(rpc)
				reads := h.begin(t.Context(), func(ctx context.Context) error {
					_, err := h.engine.Leases.Create(ctx, LeaseRequest{Role: "job", VaultMax: vaultsMost})
					return err
				})
				gate.await()
				test.does(h)
				gate.open()
				reads.isRefused(test.says)
				require.Empty(t, h.modal.ServiceUsers(), "the refused read must leave no service user")
				require.Empty(t, h.queueIDs())
			})
		}
	}
}

func TestLease_IsReturnedIfItsRoleIsWidenedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	made := h.leaseAtGate("job")
	h.write(granting("job", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor, "staging": modalapi.RoleContributor}))
	require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(made().Cred.ID))
}

func TestLease_AboveLoweredLimitsIsRenewableOnceItsRoleIsNarrowed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.configure(model.ConfigWrite{MaxEnvironmentRole: to(modalapi.RoleViewer)})
	err := h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID)
	require.ErrorContains(t, err, "max_environment_role")
	require.ErrorContains(t, err, "vault write modal/roles/job environment_roles=")
	require.True(t, model.IsUserError(err))
	require.True(t, h.alive(lease.Cred.ID), "the lease must live until its end")

	h.write(granting("job", mainViewer))

	require.NoError(t, h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID))
}

func TestLease_OfADeletedRoleIsRenewedWithinTheLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.deleteRole("job")
	require.NoError(t, h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID))
	h.configure(model.ConfigWrite{AllowedEnvironments: to([]string{"staging"})})
	require.ErrorContains(t, h.engine.Leases.CheckRenewable(t.Context(), lease.RevocationID), "allowed_environments (staging)")
}

func TestNarrowing_IsDoneAlthoughModalReportsOldRights(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", bothEnvironments)
	lease := h.lease("job")
	h.modal.Inject("ServiceUserInfo", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
		info, _ := answer.(*pb.ServiceUserInfoResponse)
		for _, entry := range info.GetServiceUser().GetEnvironmentRoles() {
			entry.SetRole(pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER)
		}
	}})
	h.write(granting("job", mainViewer))
	h.modal.ClearFaults()
	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(lease.Cred.ID))
}

func TestNarrowing_AlsoNarrowsALeaseThatWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", bothEnvironments)
	lease := h.lease("job")
	h.configure(model.ConfigWrite{Paused: to(true)})
	require.Error(t, h.engine.Leases.End(t.Context(), lease.RevocationID))
	require.True(t, h.alive(lease.Cred.ID))

	require.Empty(t, h.warnings(granting("job", mainViewer)))

	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(lease.Cred.ID))
}

func TestNarrowing_CountsUnscopedLeasesAndFailuresSeparately(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", bothEnvironments, func(ask *model.RoleWrite) { ask.Access.Scoped = to(false) })
	h.lease("job")
	kept := h.lease("job")
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Times: -1, Match: func(call modaltest.Call) bool {
		return call.Target == kept.Cred.IdentityID
	}})
	ask := granting("job", mainViewer)
	ask.Access.Scoped, ask.Access.Given = to(true), []string{"environment_roles", "scoped"}

	warnings := h.warnings(ask)

	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], "because Modal sets scoped only when it creates a service user: 1;")
	require.Contains(t, warnings[1], "running leases of role job that keep more rights than the role now allows: 1 (")
}

func TestNarrowing_ALeaseThatEndsMeanwhileStaysEnded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken())})
		b.dynamic("job")
		lease := b.lease("job")
		b.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Mangle: func(proto.Message) { b.pass(4 * time.Second) }})
		narrows := b.harness.begin(t.Context(), b.writing(granting("job", mainViewer)))
		b.pass(time.Second)
		ends := b.harness.begin(t.Context(), func(ctx context.Context) error { return b.engine.Leases.End(ctx, lease.RevocationID) })

		narrows.succeeds()
		ends.succeeds()

		require.Empty(t, b.queueIDs())
		require.Empty(t, b.modal.ServiceUsers())
	})
}

func TestNarrowing_SaysSoIfTheLeasesCannotBeListed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", bothEnvironments)
	lease := h.lease("job")
	h.restartOver(&unreadableKey{h.storage, "revocation/" + lease.RevocationID})

	warnings := h.warnings(granting("job", mainViewer))

	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "the leases of role job cannot be listed")
	require.Contains(t, warnings[0], "vault lease revoke -prefix modal/creds/job")
	h.restart()
	require.Empty(t, h.warnings(granting("job", mainViewer)))
	require.Equal(t, "viewer", h.rolesOf(lease.Cred.ID)["main"])
}
