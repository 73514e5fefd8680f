// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

// callFunc calls an RPC about the service user with that ID and the name "ci".
type callFunc func(ctx context.Context, c *modalapi.Client, t modalapi.Token, id string) error

// everyCall contains every call of the client.
var everyCall = map[string]callFunc{
	createRPC: func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.CreateServiceUser(ctx, t, ci)
		return err
	},
	"TokenInfoGet": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.WhoAmI(ctx, t)
		return err
	},
	"ServiceUserDelete": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, id string) error {
		return c.DeleteServiceUser(ctx, t, id)
	},
	"ServiceUserInfo": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.ServiceUser(ctx, t, "ci")
		return err
	},
	"ServiceUserList": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.ServiceUsers(ctx, t)
		return err
	},
	"EnvironmentRoleSet": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, id string) error {
		return c.SetEnvironmentRole(ctx, t, id, "en-1", modalapi.RoleViewer)
	},
	"EnvironmentList": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.Environments(ctx, t)
		return err
	},
	"WorkspaceMembersList": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.MemberRole(ctx, t, "us-1")
		return err
	},
	"EnvironmentGetRoles": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.CustomRoles(ctx, t, "en-1")
		return err
	},
	"AuditLogList": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.AuditLog(ctx, t, time.Now().Add(-time.Hour), time.Now())
		return err
	},
	"TokensList": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		_, err := c.MemberTokens(ctx, t)
		return err
	},
}

func TestEveryCallExceptCreate_IsRetriedUnderOneIdempotencyKey(t *testing.T) {
	t.Parallel()
	for rpc, call := range everyCall {
		if rpc == createRPC {
			continue
		}
		t.Run(rpc, func(t *testing.T) {
			t.Parallel()
			server, admin, client, minted := withServiceUser(t)
			server.Inject(rpc, modaltest.Fault{Code: codes.Unavailable, Times: 3})
			if inMain[rpc] != nil {
				call = inMain[rpc]
			}

			require.NoError(t, call(t.Context(), client, admin, minted.ID))

			calls := server.Calls(rpc)
			require.Len(t, calls, 4)
			for _, call := range calls {
				require.Equal(t, admin.ID, call.TokenID)
				require.Equal(t, calls[0].Header.Get("x-idempotency-key"), call.Header.Get("x-idempotency-key"))
			}
		})
	}
}

func TestEveryCall_RejectedTokenIsReportedAsRejected(t *testing.T) {
	t.Parallel()
	for rpc, call := range everyCall {
		t.Run(rpc, func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			client := newClient(t, modalapi.Options{ServerURL: server.URL()})

			err := call(t.Context(), client, modalapi.Token{ID: admin.ID, Secret: someSecret}, "sv-1")

			require.Equal(t, modalapi.KindRefused, modalapi.KindOf(err))
			require.ErrorContains(t, err, "Modal rejected the token: ")
			require.NotContains(t, err.Error(), someSecret)
			require.Len(t, server.Calls(rpc), 1)
		})
	}
}

func TestEveryCall_MalformedTokenIsNotSent(t *testing.T) {
	t.Parallel()
	for rpc, call := range everyCall {
		t.Run(rpc, func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			client := newClient(t, modalapi.Options{ServerURL: server.URL()})

			err := call(t.Context(), client, modalapi.Token{ID: admin.Secret, Secret: admin.ID}, "sv-1")

			require.ErrorContains(t, err, "the token is malformed")
			require.Equal(t, modalapi.KindNone, modalapi.KindOf(err))
			require.NotContains(t, err.Error(), admin.Secret)
			require.Empty(t, server.Calls(""))
		})
	}
}

// Only owners and managers may manage service users (Modal's guide/service-users).
func TestServiceUserCalls_OfAServiceUserOrAPlainMemberAreForbidden(t *testing.T) {
	t.Parallel()
	for _, rpc := range []string{createRPC, "ServiceUserDelete", "ServiceUserInfo", "ServiceUserList", roleRPC} {
		t.Run(rpc, func(t *testing.T) {
			t.Parallel()
			server, _, client, minted := withServiceUser(t)
			plain := server.Workspace("acme").AddMember("eve").NewToken()

			for _, caller := range []modalapi.Token{minted.Token, {ID: plain.ID, Secret: plain.Secret}} {
				err := everyCall[rpc](t.Context(), client, caller, minted.ID)

				require.Equal(t, modalapi.KindForbidden, modalapi.KindOf(err))
			}
			require.Len(t, server.ServiceUsers(), 1)
		})
	}
}

func TestServiceUserCalls_WithoutThePlanReportModalsReason(t *testing.T) {
	t.Parallel()
	for _, rpc := range []string{createRPC, "ServiceUserDelete", "ServiceUserInfo", "ServiceUserList", roleRPC} {
		t.Run(rpc, func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Workspace("acme").SetServiceUsers(false)

			err := everyCall[rpc](t.Context(), newClient(t, modalapi.Options{ServerURL: server.URL()}), admin, "sv-1")

			require.Equal(t, modalapi.KindConflict, modalapi.KindOf(err))
			require.ErrorContains(t, err, "service users are not available on this workspace's plan")
			require.Len(t, server.Calls(rpc), 1)
		})
	}
}

// inMain contains the calls about an environment, with an environment that exists.
var inMain = map[string]callFunc{
	roleRPC: func(ctx context.Context, c *modalapi.Client, t modalapi.Token, id string) error {
		environments, err := c.Environments(ctx, t)
		if err != nil {
			return err
		}
		return c.SetEnvironmentRole(ctx, t, id, environments[0].ID, modalapi.RoleViewer)
	},
	"EnvironmentGetRoles": func(ctx context.Context, c *modalapi.Client, t modalapi.Token, _ string) error {
		environments, err := c.Environments(ctx, t)
		if err != nil {
			return err
		}
		_, err = c.CustomRoles(ctx, t, environments[0].ID)
		return err
	},
}

func TestEveryCall_MissingMethodIsUnsupportedAndNotRetried(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]modaltest.Fault{
		"UNIMPLEMENTED":           {Code: codes.Unimplemented, Times: -1},
		"without a content type":  {NoContentType: true, Times: -1},
		"the same after the work": {NoContentType: true, AfterCommit: true, Times: -1},
	} {
		for rpc, call := range everyCall {
			t.Run(name+"/"+rpc, func(t *testing.T) {
				t.Parallel()
				server, admin, client, minted := withServiceUser(t)
				if inMain[rpc] != nil {
					call = inMain[rpc]
				}
				before := len(server.Calls(rpc))
				server.Inject(rpc, fault)

				err := call(t.Context(), client, admin, minted.ID)

				if rpc == createRPC && fault.AfterCommit {
					require.Equal(t, modalapi.KindExists, modalapi.KindOf(err), "the name exists already, so the emulator answers with its own error")
					return
				}
				require.Equal(t, modalapi.KindUnsupported, modalapi.KindOf(err), "%v", err)
				require.ErrorContains(t, err, "Modal does not know how to ")
				require.Len(t, server.Calls(rpc), before+1)
			})
		}
	}
}
