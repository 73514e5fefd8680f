// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestManaged_TooFrequentRotationIsRefusedWithTheNumbers(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	for says, policy := range map[string]map[string]any{
		"rotation_window needs a rotation_schedule":                                                             {"rotation_period": "30d", "rotation_window": "2h"},
		"rotation_schedule, 1m is shorter than refresh_interval 5m":                                             {"rotation_schedule": "* * * * *", "grace_period": 0},
		"rotation_schedule, 4m is shorter than refresh_interval 5m":                                             {"rotation_schedule": "*/7 * * * *", "grace_period": 0},
		"rotation_period 5m is shorter than refresh_interval 10m":                                               {"rotation_period": "5m", "refresh_interval": "10m", "grace_period": 0},
		"rotation_period 5s and grace_period 365d would keep 6307200 previous tokens alive, and 10 is the most": {"rotation_period": "5s", "refresh_interval": "5s", "grace_period": "365d"},
		"a grace_period of at most 10h":                                                                         {"rotation_schedule": "0 * * * *"},
	} {
		for path, more := range map[string]map[string]any{"roles/ci": {}, "roles/new": {"type": "managed", "environment_roles": "main=viewer"}, "roles/disabled": {"type": "managed", "environment_roles": "main=viewer", "disable_automated_rotation": true}} {
			require.Contains(t, m.Refused(logical.UpdateOperation, path, mounttest.Also(more, pairsOf(policy)...)), says)
		}
	}
	m.Write("roles/ci", map[string]any{"rotation_schedule": "0 * * * *", "grace_period": "10h", "rotation_window": "1h"})
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"grace_period": "11h"}), "11 previous tokens", "the merged result counts")
	m.Write("roles/ci", map[string]any{"rotation_period": "2h"})
	require.NotContains(t, m.Read("roles/ci"), "rotation_window", "the window is removed with its schedule")
}

func TestManaged_EmptyPeriodKeepsTheSchedule(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"rotation_schedule": "0 3 * * *"})
	m.Write("roles/ci", map[string]any{"rotation_period": ""})
	m.Write("roles/ci", map[string]any{"rotation_period": nil})
	require.Equal(t, "0 3 * * *", m.Read("roles/ci")["rotation_schedule"])
}
