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
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", map[string]any{"previous": 1}), `did you mean to_previous`)
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

func TestLists_CanBePagedInOrderOfNames(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.SeedManaged(t, 7, 0)
	m.SeedRevocations(t, 7)
	prefix, _ := m.Read("config")["service_user_prefix"].(string)
	for i := range 7 {
		_, err := m.Workspace.CreateServiceUser(fmt.Sprintf("%sjob-as-aaaaaaa%d", prefix, i)) // the name resembles a secret
		require.NoError(t, err)
	}
	m.Clock.Advance(time.Hour)
	m.Restart()
	for _, path := range []string{"roles", "rotate", "revocations", "orphans"} {
		whole := m.Must(logical.ListOperation, path, nil)
		all, _ := whole.Data["keys"].([]string)
		require.Len(t, all, 7, path)

		var walked []string
		for after := ""; ; after = walked[len(walked)-1] {
			resp := m.Must(logical.ListOperation, path, map[string]any{"after": after, "limit": "3"})
			keys, _ := resp.Data["keys"].([]string)
			if len(keys) == 0 {
				break
			}
			require.LessOrEqual(t, len(keys), 3, path)
			require.Len(t, resp.Data["key_info"], len(keys), path)
			walked = append(walked, keys...)
		}
		require.IsIncreasing(t, walked, path)
		require.ElementsMatch(t, all, walked, path)

		for _, limit := range []any{"-1", 0, "100"} {
			resp := m.Must(logical.ListOperation, path, map[string]any{"after": walked[4] + "-", "limit": limit})
			require.Equal(t, walked[5:], resp.Data["keys"], "%s: the name in after need not exist", path)
		}
	}
}

func TestLists_APageReadsOnlyItsOwnEntries(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.SeedManaged(t, 1000, 0)
	m.SeedRevocations(t, 1000)
	for path, most := range map[string]int{"roles": 1 + 2*10, "revocations": 1 + 10} { // a list, and a role has two entries
		m.Restart()
		m.Read("config")
		before := m.Storage.Calls()
		resp := m.Must(logical.ListOperation, path, map[string]any{"limit": 10})
		require.Len(t, resp.Data["keys"], 10)
		require.LessOrEqual(t, m.Storage.Calls()-before, most, path)
	}
}

func TestLists_RefuseInvalidPages(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for field, value := range map[string]any{"limit": "ten", "after": []any{"a", "b"}, "afterr": "ci"} {
		require.Contains(t, m.Refused(logical.ListOperation, "roles", map[string]any{field: value}), field)
	}
	require.Contains(t, m.Refused(logical.ListOperation, "roles", map[string]any{"after": "as-AAAAAAAAAAAAAAAAAAAAAA"}), "shape of a token secret")
	for field, value := range map[string]any{"limit": 1, "after": "ci"} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "orphans", map[string]any{field: value, "dry_run": false}), field+": only a list takes this")
	}
	m.Write("orphans", map[string]any{"after": nil, "limit": nil}) // null counts as absent
}

func TestLists_ContinueAfterARoleNameWithASecretPrefix(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("as-job")
	m.AddRole("ci")
	page := m.Must(logical.ListOperation, "roles", map[string]any{"after": "as-job"})
	require.Equal(t, []string{"ci"}, page.Data["keys"])
}
