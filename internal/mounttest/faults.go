// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// FallBehind sets the engine's clock behind Modal's. It returns a function that advances both clocks.
func (m *Mount) FallBehind(by time.Duration) (pass func(d time.Duration)) {
	m.T.Helper()
	atModal := m.Clock
	m.Clock = &FakeClock{At: atModal.Now().Add(-by)}
	m.Restart()
	return func(d time.Duration) {
		atModal.Advance(d)
		m.Clock.Advance(d)
	}
}

// ModalCreatesLate makes Modal create the service user late, and checks that the worker deletes it.
func (m *Mount) ModalCreatesLate(key string) {
	m.T.Helper()
	_, err := m.Workspace.CreateServiceUser(key)
	require.NoError(m.T, err)
	m.Minutes(30)
	require.Len(m.T, m.Modal.ServiceUsers(), 1)
	require.Empty(m.T, m.List("revocations"))
}

// AnotherModal starts a second server and returns it with a config write for it. The server records the ID of each token
// that it receives.
func (m *Mount) AnotherModal() (other *modaltest.Server, config map[string]any) {
	m.T.Helper()
	other = modaltest.Start(m.T, modaltest.WithClock(m.Clock.Now))
	admin := other.AddWorkspace("evil").AddMember("eve").NewToken()
	return other, Also(TokenData(admin), "server_url", other.URL(), "force", true)
}
