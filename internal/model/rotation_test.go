// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRotation_OnlyAManagedRoleIsOverdueAfterTwoMinutes(t *testing.T) {
	t.Parallel()
	due := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	static := &Role{Type: TypeStatic, RotationPeriod: 90 * Day}
	managed := &Role{Type: TypeManaged, RotationPeriod: 90 * Day, Managed: &ManagedPolicy{}}
	for _, test := range []struct {
		role *Role
		past time.Duration
		want string
	}{
		{static, -time.Second, StateOK},
		{static, 0, StateOK},
		{static, time.Second, StateOverdue},
		{static, 2*time.Minute - time.Second, StateOverdue},
		{managed, 0, StateOK},
		{managed, 2*time.Minute - time.Second, StateOK},
		{managed, 2 * time.Minute, StateOverdue},
	} {
		cred := &Credential{Token: Token{ID: "ak-1"}, LastRotation: due.Add(-90 * Day), NextRotation: due}
		r := NewRotation("ci", test.role, cred, due.Add(test.past))
		require.Equal(t, due, r.Next)
		require.Equal(t, test.want, r.State(), "%s, %s after the time", test.role.Type, test.past)
		require.Equal(t, test.want == StateOverdue, r.Late > 0)
	}
}
