// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

func TestState_OfARoleIsTheFirstThatApplies(t *testing.T) {
	t.Parallel()
	disabled := &model.Role{Managed: &model.ManagedPolicy{Disabled: true}}
	tried := &model.Credential{Tries: model.Tries{Attempts: 1}}
	for want, r := range map[string]*model.Rotation{
		model.StateRejected: {Role: disabled, Cred: tried, Late: model.Day, Rejected: true},
		model.StateFailing:  {Role: disabled, Cred: tried, Late: model.Day},
		model.StateOverdue:  {Role: disabled, Cred: &model.Credential{Token: model.Token{ID: "ak-1"}}, Late: model.Day},
		model.StateDisabled: {Role: disabled, Cred: &model.Credential{Token: model.Token{ID: "ak-1"}}},
		model.StateOK:       {Role: &model.Role{}, Cred: &model.Credential{Token: model.Token{ID: "ak-1"}}},
	} {
		require.Equal(t, want, r.State())
	}
	static, dynamic := &model.Role{Type: model.TypeStatic}, &model.Role{Type: model.TypeDynamic, Dynamic: &model.DynamicPolicy{}}
	require.Equal(t, model.StateOverdue, model.NewRotation("ci", static, nil, start).State(), "the role waits for its first token")
	require.Equal(t, model.StateOK, model.NewRotation("job", dynamic, nil, start).State(), "each read creates a token")
}

func TestState_OfARevocationShowsItsProgress(t *testing.T) {
	t.Parallel()
	before, after := start.Add(-1), start.Add(1)
	for _, test := range []struct {
		want  string
		entry model.Revocation
	}{
		{model.StatePending, model.Revocation{Reason: model.ReasonUnfinished, NotBefore: after}},
		{model.StateEnding, model.Revocation{Reason: model.ReasonUnfinished, NotBefore: before}},
		{model.StatePending, model.Revocation{Reason: model.ReasonApproved, NotBefore: after}},
		{model.StatePending, model.Revocation{Reason: model.ReasonUnfinished, Leased: true, NotBefore: after}},
		{model.StateLeased, model.Revocation{Reason: model.ReasonLease, Leased: true, NotBefore: after}},
		{model.StateEnding, model.Revocation{Reason: model.ReasonLease, Leased: true, NotBefore: before}},
		{model.StateGrace, model.Revocation{NotBefore: after, Tries: model.Tries{Attempts: 1}}},
		{model.StateEnding, model.Revocation{NotBefore: before}},
		{model.StateRetrying, model.Revocation{NotBefore: before, Tries: model.Tries{Attempts: 1}}},
		{model.StateUnconfirmed, model.Revocation{NotBefore: before, Tries: model.Tries{Attempts: 1}, AcceptedAfterDeletion: true}},
		{model.StateInUse, model.Revocation{NotBefore: before, WasInUse: true}},
		{model.StateEnding, model.Revocation{NotBefore: before, WasInUse: true, DeletionStarted: true}},
		{model.StateRetrying, model.Revocation{NotBefore: before, WasInUse: true, DeletionStarted: true, Tries: model.Tries{Attempts: 1}}},
		{model.StateUnconfirmed, model.Revocation{NotBefore: before, WasInUse: true, DeletionStarted: true, Tries: model.Tries{Attempts: 1}, AcceptedAfterDeletion: true}},
		{model.StateWaiting, model.Revocation{Method: model.MethodManual, NotBefore: after}},
		{model.StateWaiting, model.Revocation{Method: model.MethodManual, NotBefore: before, Tries: model.Tries{Attempts: 1}}},
		{model.StateWaiting, model.Revocation{NotBefore: before, RefusedReason: "not an owner", Tries: model.Tries{Attempts: 1}}},
		{model.StateUnconfirmed, model.Revocation{NotBefore: before, FirstRejectedAt: before}},
		{model.StateUnconfirmed, model.Revocation{Method: model.MethodManual, NotBefore: after, FirstRejectedAt: before}},
	} {
		if test.entry.Method == "" {
			test.entry.Method = model.MethodAutomatic
		}
		require.Equal(t, test.want, test.entry.State(start))
	}
}

func TestByUrgency_PutsRolesThatNeedAnOperatorFirst(t *testing.T) {
	t.Parallel()
	all := []*model.Rotation{
		{Name: "ok", Role: &model.Role{}, Cred: &model.Credential{}, Next: start.Add(2)},
		{Name: "disabled", Role: &model.Role{Managed: &model.ManagedPolicy{Disabled: true}}, Cred: &model.Credential{}, Next: start.Add(1)},
		{Name: "overdue", Role: &model.Role{}, Cred: &model.Credential{}, Late: 1},
		{Name: "failing", Role: &model.Role{}, Cred: &model.Credential{Tries: model.Tries{Attempts: 1}}},
		{Name: "rejected", Role: &model.Role{}, Cred: &model.Credential{}, Rejected: true},
	}
	model.SortByUrgency(all)
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	require.Equal(t, []string{"rejected", "failing", "overdue", "disabled", "ok"}, names)
}
