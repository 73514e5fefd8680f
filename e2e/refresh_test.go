// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

const (
	rotations = 50
	// rotateEach and useEach are the intervals of rotations and uses. refreshEach is the role's refresh
	// interval.
	rotateEach  = 1300 * time.Millisecond
	useEach     = 50 * time.Millisecond
	refreshEach = 5 * time.Second
	readers     = 3
)

func TestRefresh_AReaderIsNeverRejectedAcrossFiftyRotations(t *testing.T) {
	t.Parallel()
	w := newManagedWorld(t)
	w.newManagedRole(t, "grace_period=12s") // at most ten previous tokens may exist
	client := w.modal(t)
	stop := make(chan struct{})
	reports := make(chan report, readers)
	var running sync.WaitGroup
	for range readers {
		running.Go(func() { reports <- w.useAndRefresh(client, stop) })
	}

	pace := time.NewTicker(rotateEach)
	defer pace.Stop()
	for range rotations {
		<-pace.C
		w.vault(t, "write", "-f", "modal/rotate/gpu")
		// This replaces Vault's clock, which ticks once a minute: tokens end while others are created.
		w.run(t, w.CLI, "", "write", "-f", "modal/revocations/"+w.list(t, "modal/revocations")[0])
	}
	require.Less(t, len(w.state(t).ServiceUsers), rotations*3/4, "the engine must end old tokens during the rotations")
	last := w.current(t)
	require.EqualValues(t, rotations+1, last.version)
	require.Equal(t, rotations+1, w.calls(t, "ServiceUserCreate"))

	// The readers continue until the engine has ended all tokens that it replaced.
	require.NoError(t, lab.Until(w.ctx, "the engine to end the old tokens", func() error {
		state, err := w.emulator.State(w.ctx)
		if err == nil && len(state.ServiceUsers) != 1 {
			err = fmt.Errorf("%d service users exist", len(state.ServiceUsers))
		}
		return err
	}))
	close(stop)
	running.Wait()
	require.Equal(t, last.ID, w.onlyUser(t).TokenID)
	w.requireQueueEmpty(t)
	for range readers {
		seen := <-reports
		require.NoError(t, seen.failed)
		require.Greater(t, seen.uses, rotations, "the reader must use its tokens")
		require.Greater(t, seen.tokens, 3, "the reader must see rotations")
	}
}

// report is the result of a reader: its calls to Modal, the number of different tokens, and the first
// failure.
type report struct {
	uses, tokens int
	failed       error
}

// useAndRefresh uses the token that it read last and reads again after each refresh interval.
func (w *world) useAndRefresh(client pb.ModalClientClient, stop <-chan struct{}) (seen report) {
	pace, refresh := time.NewTicker(useEach), time.NewTicker(refreshEach)
	defer pace.Stop()
	defer refresh.Stop()
	token, err := w.readToken(w.CLI)
	for seen.tokens = 1; err == nil; seen.uses++ {
		select {
		case <-stop:
			return seen
		case <-w.ctx.Done():
			return seen
		case <-refresh.C:
			before := token
			if token, err = w.readToken(w.CLI); err == nil && token.ID != before.ID {
				seen.tokens++
			}
		case <-pace.C:
			if err = use(w.ctx, client, token.Token); err != nil {
				err = fmt.Errorf("version %d (%s): %w", token.version, token, err)
			}
		}
	}
	seen.failed = err
	return seen
}
