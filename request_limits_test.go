// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestDurations_DoNotOverflowAndAreWholeSeconds(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	for _, odd := range []any{
		"18446744074", 18446744074, "213504d", "5124096h", "18446744073710s", "9223372036854775807", "99999999999999999999", 1e300, -1, "-1s", "1.5s",
		0.5, json.Number("1e3"), "soon", true,
		[]any{"1h"},
		map[string]any{},
		"1w", "0x10", "d",
	} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"grace_period": odd}), "grace_period: ", "%#v", odd)
	}
	for _, hour := range []any{3600, "3600", "1h", "60m", "0.5h30m", 3600.0, json.Number("3600"), " 1h "} {
		m.Write("roles/ci", map[string]any{"grace_period": hour})
		require.Equal(t, int64(3600), m.Read("roles/ci")["grace_period"], "%#v", hour)
	}
}

func TestUnknownFields_AreRefusedQuicklyWithAShortMessage(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	body := map[string]any{}
	for i := range 200 {
		body[strings.Repeat("x", 1<<16)+strconv.Itoa(i)] = "1"
	}
	begin := time.Now()
	text := m.Refused(logical.UpdateOperation, "rotate/ci", body)
	require.Less(t, time.Since(begin), time.Second)
	require.Less(t, len(text), 2000)
	require.NotContains(t, text, "did you mean")
	require.NotContains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"quux": 1}), "did you mean")
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"previous": 1}), `did you mean "to_previous"`)
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"role": "other"}), "the path has it already")
}

func TestStoredTexts_HaveALengthLimit(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprintf("e%d=viewer", i))
	}
	long := strings.Repeat("a", 1<<17)
	for path, fields := range map[string]map[string]any{
		"roles/ci": {
			"profile": long, "environment": long, "rotation_schedule": "0" + strings.Repeat(",0", 40_000) + " 3 * * *",
			"environment_roles": strings.Join(many, ","), "type": long,
		},
		"config": {"server_url": "https://" + long + ":443", "ca_cert": long, "allowed_environments": strings.ReplaceAll(strings.Join(many, ","), "=viewer", "")},
	} {
		for field, value := range fields {
			text := m.Refused(logical.UpdateOperation, path, map[string]any{field: value})
			require.Regexp(t, "at most (64|128|100|256|512|65536) ", text, field)
			require.Less(t, len(text), 300)
		}
	}
	require.Less(t, len(m.Refused(logical.UpdateOperation, "roles/"+long, nil)), 500)
	require.Less(t, len(m.Refused(logical.UpdateOperation, "revocations/"+long, nil)), 500)
}
