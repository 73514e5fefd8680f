// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestEnvironmentRoles_OneChangeListsTheEnvironmentsOnce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	before := len(m.Modal.Calls("EnvironmentList"))

	m.AddManaged("ci", map[string]any{"environment_roles": "main=contributor,staging=viewer"})

	require.Len(t, m.Modal.Calls("EnvironmentRoleSet"), 2)
	require.Len(t, m.Modal.Calls("EnvironmentList"), before+1)
}

func TestEnvironmentRoles_UnknownEnvironmentIsRefusedBeforeAnyIsSet(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Modal.Inject("EnvironmentList", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
		var items []*pb.EnvironmentListItem
		for i := range 9000 {
			items = append(items, pb.EnvironmentListItem_builder{EnvironmentId: fmt.Sprint("en-", i), Name: fmt.Sprintf("env-%04d", i)}.Build())
		}
		answer.(*pb.EnvironmentListResponse).SetItems(items)
	}})

	status, text := m.Failed(logical.UpdateOperation, "roles/ci", map[string]any{
		"type": "managed", "environment_roles": "env-0001=viewer,prod=viewer",
	})

	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, text, "environment prod does not exist: the workspace has env-0000, env-0001")
	require.Contains(t, text, "env-0009, and 8990 more")
	require.Less(t, len(text), 600)
	require.Empty(t, m.Modal.Calls("EnvironmentRoleSet"))
}

// TestEnvironmentRoles_GiantAnswerGivesAShortError checks that a nonsensical answer of a server fills neither the error nor
// storage.
func TestEnvironmentRoles_GiantAnswerGivesAShortError(t *testing.T) {
	t.Parallel()
	for name, count := range map[string]int{"more than can be true": 5_001, "many": 1_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			m.AddManaged("ci", nil)
			var roles []*pb.ServiceUser_EnvironmentRoleEntry
			for i := range count {
				roles = append(roles, pb.ServiceUser_EnvironmentRoleEntry_builder{
					EnvironmentName: fmt.Sprintf("env-%d-%s", i, strings.Repeat("x", 100)), RoleStr: "as-0f1e2d3c4b5a6978QWERTY\x1b[31m\n",
				}.Build())
			}
			m.Modal.Inject("ServiceUserInfo", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
				answer.(*pb.ServiceUserInfoResponse).GetServiceUser().SetEnvironmentRoles(roles)
			}})

			_, text := m.Failed(logical.UpdateOperation, "rotate/ci", nil)

			require.Less(t, len(text), 1500)
			require.NotContains(t, text, "as-0f1e2d3c4b5a")
			require.NotContains(t, text, "\x1b")
		})
	}
}
