// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

func TestSchedule_ARotationThatTheTickCutsOffBacksOff(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		t := b.t
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken()), RequestTimeout: to(model.MaxRequestTimeout), VerificationInterval: to(time.Duration(0))})
		const roles = 5 // four rotate at a time, and the last one begins late in the tick
		for i := range roles {
			b.managed(fmt.Sprintf("ci-%d", i))
		}
		b.pass(100 * model.Day)
		b.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.PermissionDenied, Delay: 30 * time.Second, Times: roles - 1})
		b.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.PermissionDenied, Delay: time.Hour, Times: -1})
		began := time.Now()

		_ = b.engine.Worker.Tick(t.Context())

		require.Equal(t, tickBudget, time.Since(began).Truncate(time.Second), "the tick must cut off the last rotation")
		for i := range roles {
			cred := b.current(fmt.Sprintf("ci-%d", i))
			require.Equal(t, 1, cred.Attempts, "role %d", i)
			require.True(t, cred.NextAttempt.After(time.Now()), "role %d", i)
		}
	})
}
