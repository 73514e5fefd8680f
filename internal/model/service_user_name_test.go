// SPDX-License-Identifier: MPL-2.0

package model

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const testPrefix, testRandom = "vault-2f9f1a7c-", "abcdefgh"

func TestServiceUserName_ReplacesWhatModalDoesNotAccept(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"job":                           "job",
		"jwt-Acme/Train":                "jwt-acme-train",
		"repo:acme/train:ref:main #42!": "repo-acme-train-ref-main-42",
		"__a__b--c__":                   "a__b--c",
		"größe":                         "gr-e",
		"":                              "ci.prod",
		"-_-":                           "ci.prod",
		"日本":                            "ci.prod",
		"as-" + strings.Repeat("A", 22): "ci.prod",
		strings.Repeat("x", 39):         strings.Repeat("x", 39),
	} {
		require.Equal(t, testPrefix+strings.ReplaceAll(want, ".", "-")+"-"+testRandom, ServiceUserName(testPrefix, text, "ci.prod", testRandom), text)
	}
}

func TestServiceUserName_TellsLongTextsApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 60)
	first, second := ServiceUserName(testPrefix, long+"1", "ci", testRandom), ServiceUserName(testPrefix, long+"2", "ci", testRandom)
	require.Len(t, first, 63)
	require.Len(t, second, 63)
	require.NotEqual(t, first, second)
	require.True(t, strings.HasPrefix(first, testPrefix+strings.Repeat("x", 31)))
}

func TestServiceUserName_IsAlwaysOneThatModalAccepts(t *testing.T) {
	t.Parallel()
	accepted := regexp.MustCompile(`^vault-2f9f1a7c-[a-z0-9]([a-z0-9_-]*[a-z0-9])?-abcdefgh$`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Z0-9_. /:-]{0,80}`)).Draw(t, "text")
		role := rapid.StringMatching(`[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?`).Draw(t, "role")
		name := ServiceUserName(testPrefix, text, role, testRandom)
		require.Regexp(t, accepted, name)
		require.LessOrEqual(t, len(name), 63)
	})
}

func TestRole_LogsTheChangesOfDescriptionAndTemplate(t *testing.T) {
	t.Parallel()
	before := &Role{Type: TypeDynamic, Description: "old", Dynamic: &DynamicPolicy{}}
	after := &Role{Type: TypeDynamic, Description: "new", Dynamic: &DynamicPolicy{NameTemplate: "{{.DisplayName}}"}}
	require.Equal(t, []any{
		"description", "new", "description_before", "old",
		"service_user_name_template", "{{.DisplayName}}", "service_user_name_template_before", "",
	}, after.LogChanges(before))
	require.Empty(t, after.LogChanges(after))
	require.Equal(t, []any{"description", "old", "description_before", ""}, before.LogChanges(nil))
}

func TestRole_DescriptionAndTemplateKeepTheirValuesOrReturnToNone(t *testing.T) {
	t.Parallel()
	set := func(text string) Change[string] { return Change[string]{Set: true, Value: text} }
	ask := RoleWrite{Type: set(TypeDynamic), Description: set("payments"), Access: AccessWrite{Scoped: Change[bool]{Set: true}}}
	ask.Dynamic.NameTemplate = set("{{.DisplayName}}")
	role, err := NewRole("ABCDEFGH").Merge(ask)
	require.NoError(t, err)
	require.Equal(t, "payments", role.Description)
	require.Equal(t, "{{.DisplayName}}", role.Dynamic.NameTemplate)
	kept, err := role.Merge(RoleWrite{})
	require.NoError(t, err)
	require.Equal(t, role, kept)
	ask = RoleWrite{Description: Change[string]{Set: true, Reset: true}}
	ask.Dynamic.NameTemplate = Change[string]{Set: true, Reset: true}
	none, err := role.Merge(ask)
	require.NoError(t, err)
	require.Empty(t, none.Description)
	require.Empty(t, none.Dynamic.NameTemplate)
}
