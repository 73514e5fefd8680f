// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestState_OfARoleIsTheFirstThatHolds(t *testing.T) {
	t.Parallel()
	disabled := &Role{Managed: &ManagedPolicy{Disabled: true}}
	tried := &Credential{Attempts: 1}
	for want, r := range map[string]*Rotation{
		StateRejected: {Role: disabled, Cred: tried, Late: Day, Refused: true},
		StateFailing:  {Role: disabled, Cred: tried, Late: Day},
		StateOverdue:  {Role: disabled, Cred: &Credential{Token: Token{ID: "ak-1"}}, Late: Day},
		StateDisabled: {Role: disabled, Cred: &Credential{Token: Token{ID: "ak-1"}}},
		StateOK:       {Role: &Role{}, Cred: &Credential{Token: Token{ID: "ak-1"}}},
	} {
		require.Equal(t, want, r.State())
	}
}

func TestState_OfAnEntryTellsHowFarItsEndIs(t *testing.T) {
	t.Parallel()
	before, after := start.Add(-1), start.Add(1)
	for _, test := range []struct {
		want  string
		entry Revocation
	}{
		{StatePending, Revocation{Reason: reasonUnfinished, NotBefore: after}},
		{StateEnding, Revocation{Reason: reasonUnfinished, NotBefore: before}},
		{StateGrace, Revocation{NotBefore: after, Attempts: 1}},
		{StateEnding, Revocation{NotBefore: before}},
		{StateRetrying, Revocation{NotBefore: before, Attempts: 1}},
		{StateUnconfirmed, Revocation{NotBefore: before, Attempts: 1, Unconfirmed: true}},
		{StateInUse, Revocation{NotBefore: before, Held: true}},
		{StateEnding, Revocation{NotBefore: before, Held: true, Begun: true}},
		{StateRetrying, Revocation{NotBefore: before, Held: true, Begun: true, Attempts: 1}},
		{StateUnconfirmed, Revocation{NotBefore: before, Held: true, Begun: true, Attempts: 1, Unconfirmed: true}},
		{StateWaiting, Revocation{Method: methodManual, NotBefore: after}},
		{StateWaiting, Revocation{Method: methodManual, NotBefore: before, Attempts: 1}},
	} {
		if test.entry.Method == "" {
			test.entry.Method = methodAutomatic
		}
		require.Equal(t, test.want, test.entry.State(start))
	}
}

func TestByUrgency_PutsThoseThatNeedSomebodyFirstAndTheRestByTheirTime(t *testing.T) {
	t.Parallel()
	all := []*Rotation{
		{Name: "ok", Role: &Role{}, Cred: &Credential{}, Next: start.Add(2)},
		{Name: "disabled", Role: &Role{Managed: &ManagedPolicy{Disabled: true}}, Cred: &Credential{}, Next: start.Add(1)},
		{Name: "overdue", Role: &Role{}, Cred: &Credential{}, Late: 1},
		{Name: "failing", Role: &Role{}, Cred: &Credential{Attempts: 1}},
		{Name: "rejected", Role: &Role{}, Cred: &Credential{}, Refused: true},
	}
	ByUrgency(all)
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	require.Equal(t, []string{"rejected", "failing", "overdue", "disabled", "ok"}, names)
}
