// SPDX-License-Identifier: MPL-2.0

package mounttest

import "vault-plugin-secrets-modal/internal/modaltest"

// ForeignMember adds a member of another workspace.
func (m *Mount) ForeignMember() *modaltest.Member {
	m.T.Helper()
	return m.Modal.AddWorkspace("globex").AddMember("eve")
}
