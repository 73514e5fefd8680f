// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
	"vault-plugin-secrets-modal/internal/request"
)

func TestMissing_ReadSuggestsTheNearestRoleName(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.AddRole("deploy-prod")
	for name, says := range map[string]string{
		"cii":          "no role is named cii: did you mean ci?",
		"c":            "no role is named c: did you mean ci?",
		"deploy-prdo":  "no role is named deploy-prdo: did you mean deploy-prod?",
		"deploy_prod":  "no role is named deploy_prod: did you mean deploy-prod?",
		"deploy-stage": "no role is named deploy-stage: vault list modal/roles names every role",
		"gpu":          "no role is named gpu: vault list modal/roles names every role",
	} {
		for _, path := range append(mounttest.EveryForm(name), "roles/"+name, "rotate/"+name) {
			require.Equal(t, says, m.Absent(path), path)
		}
	}
	require.Equal(t, "the revocation queue has no token ak-x, and Modal was not asked about it: ask Modal with: vault write modal/lookup token_id=ak-x", m.Absent("revocations/ak-x"))
}

func TestMissing_InvalidNameIsAMistakeAndIsShortened(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	require.Contains(t, m.Refused(logical.ReadOperation, "creds/CI", nil), `write "ci"`)
	long := make([]byte, request.MaxIDLength)
	for i := range long {
		long[i] = 'a'
	}
	require.Less(t, len(m.Absent("revocations/"+string(long))), 300)
}

// TestMissing_IsNotFoundForTerraformAndForWrappedReads checks the form of a 404 answer. Terraform creates an object again
// if Vault's Go client reports no object, that is, a 404 answer that contains only errors. Vault would wrap an answer
// that is no error.
func TestMissing_IsNotFoundForTerraformAndForWrappedReads(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	status, says := m.Failed(logical.ReadOperation, "roles/ci", nil)
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, says, "no role is named ci")

	for _, path := range []string{"creds/ci", "creds/ci/env", "rotate/ci", "revocations/ak-x"} {
		resp, err := m.HandleRequest(t.Context(), &logical.Request{
			Operation: logical.ReadOperation, Path: path, Storage: m.Storage, MountPoint: "modal/",
			WrapInfo: &logical.RequestWrapInfo{TTL: time.Minute},
		})
		require.Nil(t, resp, path)
		var coded logical.HTTPCodedError
		require.ErrorAs(t, err, &coded, path)
		require.Equal(t, http.StatusNotFound, coded.Code(), path)
	}
}

func TestMissing_IsNotFoundEvenIfStorageCannotList(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.Storage.Plan(mounttest.Cut{At: 2}) // fails the list that follows the read of the role
	require.Contains(t, m.Absent("creds/cii"), "no role is named cii")
}
