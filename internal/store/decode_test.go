// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// lease is an example entry with all kinds of fields that stored entries have: an embedded struct, a nested
// struct, a list of structs, a map and a time.
type lease struct {
	owner

	Version int               `json:"version"`
	Policy  *policy           `json:"policy,omitempty"`
	Steps   []policy          `json:"steps,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Since   time.Time         `json:"since,omitzero"`
}

type owner struct {
	Name string `json:"name"`
}

type policy struct {
	Window time.Duration `json:"window,omitempty"`
}

// stored returns the entry that a table decodes from the given text in storage.
func stored(t *testing.T, options Options, text string) (*lease, error) {
	t.Helper()
	s := &logical.InmemStorage{}
	require.NoError(t, s.Put(t.Context(), &logical.StorageEntry{Key: "lease/x", Value: []byte(text)}))
	return New[lease](s, "lease/", options).Get(t.Context(), "x")
}

func TestTable_RefusesAnEntryOfAnotherSchemaVersion(t *testing.T) {
	t.Parallel()
	_, err := stored(t, Options{}, `{"schema":3,"entry":{"name":"a","version":1}}`)
	require.EqualError(t, err, "lease/x was written by a newer version of this plugin (schema 3, this build knows 2): nothing was changed; run the newer version again")
	_, err = stored(t, Options{}, `{"schema":1,"entry":{"name":"a","version":1}}`)
	require.EqualError(t, err, "lease/x was written by a build that was never released (schema 1, this build knows 2): nothing was changed; mount the engine at a new path")
}

func TestTable_RefusesAnUnknownFieldAtEveryLevel(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{
		`{"name":"a","version":1,"paused":true}`,
		`{"name":"a","version":1,"policy":{"paused":true}}`,
		`{"name":"a","version":1,"steps":[{},{"paused":true}]}`,
	} {
		_, err := stored(t, Options{}, `{"schema":2,"entry":`+entry+`}`)
		require.EqualError(t, err, `lease/x was written by a newer version of this plugin (this build does not know its field "paused"): nothing was changed; run the newer version again`, entry)
	}
}

func TestTable_TreatsMapKeysAsData(t *testing.T) {
	t.Parallel()
	got, err := stored(t, Options{}, `{"schema":2,"entry":{"name":"a","version":1,"labels":{"paused":"yes"}}}`)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"paused": "yes"}, got.Labels)
}

func TestTable_ReadsAnEntryWithRetiredFields(t *testing.T) {
	t.Parallel()
	options := Options{Retired: []string{"paused", "policy.schedule", "steps.schedule"}}
	text := `{"schema":2,"entry":{"name":"a","version":9007199254740993,"paused":true,"policy":{"window":9007199254740993,"schedule":"@daily"},"steps":[{"schedule":1},{"window":1}]}}`
	got, err := stored(t, options, text)
	require.NoError(t, err)
	require.Equal(t, &lease{
		owner: owner{"a"}, Version: 1<<53 + 1, Policy: &policy{1<<53 + 1}, Steps: []policy{{}, {1}},
	}, got, "with every digit")
	_, err = stored(t, Options{Retired: []string{"schedule"}}, text)
	require.ErrorContains(t, err, "newer version", "a path says which of the fields of a name is retired")
}

func TestTable_RefusesADamagedEntry(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"schema":2,"entry":{}}`:                                       `lease/x is damaged: it has no field "name"`,
		`{"schema":2,"entry":{"name":"a"}}`:                             `lease/x is damaged: it has no field "version"`,
		`{"schema":2,"entry":null}`:                                     `lease/x is damaged: it has no content`,
		`{"schema":2}`:                                                  `lease/x is damaged`,
		`{"schema":2,"entry":[]}`:                                       `lease/x is damaged`,
		`{"schema":2,"entry":{"name":"a","version":"one"}}`:             `lease/x is damaged`,
		`{"schema":2,"entry":{"name":"a","version":1,"since":"today"}}`: `lease/x is damaged`,
		`{"schema":2,"entry":{"name":"a",`:                              `lease/x is damaged`,
	} {
		_, err := stored(t, Options{}, text)
		require.ErrorContains(t, err, want, text)
		require.True(t, IsUnreadable(err), text)
		_, err = stored(t, Options{Retired: []string{"old"}}, text)
		require.ErrorContains(t, err, want, text)
	}
}

// broken is storage whose reads fail.
type broken struct{ logical.InmemStorage }

func (*broken) Get(context.Context, string) (*logical.StorageEntry, error) { return nil, errLate }

func TestTable_DistinguishesAStorageFailureFromAnUnreadableEntry(t *testing.T) {
	t.Parallel()
	_, err := New[lease](&broken{}, "lease/", Options{}).Get(t.Context(), "x")
	require.ErrorIs(t, err, errLate)
	require.False(t, IsUnreadable(err))
}

func TestTable_ReadsEveryEntryThatItWrote(t *testing.T) {
	t.Parallel()
	for _, want := range []*lease{
		{},
		{owner: owner{"a"}, Version: math.MaxInt, Policy: &policy{math.MaxInt64}, Steps: []policy{{1}}, Labels: map[string]string{"b": "c"}, Since: time.Unix(1, 0).UTC()},
	} {
		s := &logical.InmemStorage{}
		require.NoError(t, New[lease](s, "", Options{}).Put(t.Context(), "x", want))
		got, err := New[lease](s, "", Options{Retired: []string{"old"}}).Get(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
