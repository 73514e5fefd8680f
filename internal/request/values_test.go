// SPDX-License-Identifier: MPL-2.0

package request

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDuration_AcceptsWholeSecondsInTheSpellingsOfVault(t *testing.T) {
	t.Parallel()
	for want, values := range map[time.Duration][]any{
		0:                {0, "0", "0s", json.Number("0")},
		time.Minute:      {60, int64(60), 60.0, "60", json.Number("60"), "60s", "1m", " 1m\n", "+60"},
		90 * time.Minute: {"1h30m", "1.5h", "90m"},
		48 * time.Hour:   {"2d", "48h", 172800},
	} {
		for _, value := range values {
			d, mistake := ParseDuration(value)
			require.Empty(t, mistake, "%T %v", value, value)
			require.Equal(t, want, d, "%T %v", value, value)
		}
	}
}

func TestDuration_RefusesWhatIsNoDurationOrIsAmbiguous(t *testing.T) {
	t.Parallel()
	for _, value := range []any{
		"", " ", "soon", "-5", -5, "-1h", "-1d", json.Number("-5"), "1.5", 1.5, json.Number("1.5"), json.Number("1e3"), 1e300, "1.5d", "1d2h", "d", "1_000", "0x10",
		"1500ms", "1ns", "9223372036854775807", "106752d", json.Number("9223372037"), true, false, nil,
		[]any{60},
		map[string]any{"s": 60},
		time.Minute, "６０",
	} {
		_, mistake := ParseDuration(value)
		require.NotEmpty(t, mistake, "%T %v", value, value)
	}
}

func TestFlag_AcceptsTrueAndFalseOnly(t *testing.T) {
	t.Parallel()
	for want, values := range map[bool][]any{
		true:  {true, "true", "TRUE", "T", "1", 1, 1.0, json.Number("1")},
		false: {false, "false", "False", "f", "0", 0, 0.0, json.Number("0")},
	} {
		for _, value := range values {
			got, mistake := parseFlag(value)
			require.Empty(t, mistake, "%T %v", value, value)
			require.Equal(t, want, got, "%T %v", value, value)
		}
	}
	for _, value := range []any{"yes", "on", "", " true", "2", 2, -1, 0.5, json.Number("2"), json.Number("1.0"), []any{true}, map[string]any{}, nil} {
		_, mistake := parseFlag(value)
		require.Equal(t, "write true or false", mistake, "%T %v", value, value)
	}
}

func TestList_KeepsEmptyItemsAndRefusesItemsThatAreNoText(t *testing.T) {
	t.Parallel()
	for want, values := range map[[2]string][]any{
		{"a", "b"}: {"a,b", " a , b ", []string{"a", "b"}, []any{"a ", " b"}},
		{"a", ""}:  {"a,", []any{"a", ""}},
	} {
		for _, value := range values {
			items, isList := ParseList(value)
			require.True(t, isList, "%T %v", value, value)
			require.Equal(t, want[:], items, "%T %v", value, value)
		}
	}
	for _, value := range []any{1, true, nil, []any{"a", 1}, []any{true}, []any{[]any{"a"}}, map[string]any{"a": "b"}, json.Number("1")} {
		_, isList := ParseList(value)
		require.False(t, isList, "%T %v", value, value)
	}
}
