// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestConfig_EachLimitReducesTheRightsOfAServiceUser(t *testing.T) {
	t.Parallel()
	type roles = map[string]modalapi.EnvironmentRole
	has := roles{"main": modalapi.RoleContributor, "staging": modalapi.RoleViewer, "lab": modalapi.RoleContributor}
	for _, test := range []struct {
		limits Config
		want   roles
	}{
		{Config{}, has},
		{Config{AllowedEnvironments: []string{"main", "staging"}}, roles{"main": modalapi.RoleContributor, "staging": modalapi.RoleViewer}},
		{Config{MaxEnvironmentRole: modalapi.RoleViewer}, roles{"main": modalapi.RoleViewer, "staging": modalapi.RoleViewer, "lab": modalapi.RoleViewer}},
		{Config{MaxEnvironmentRole: modalapi.RoleContributor}, has},
		{Config{AllowedEnvironments: []string{"main"}, MaxEnvironmentRole: modalapi.RoleViewer}, roles{"main": modalapi.RoleViewer}},
	} {
		require.Equal(t, test.want, test.limits.Within(has))
	}
}
