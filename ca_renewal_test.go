// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// docs/how-to/renew-a-corporate-ca.md has these steps. The tests of the pages cannot run them, because make dev has no
// server with TLS.
func TestConfig_CAIsRenewedWithThePresentAdminToken(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	admin := tokenData(member.NewToken())
	m.write("config", admin)
	m.write("roles/ci", also(tokenData(member.NewToken()), "type", "static"))
	old := textIn(m.read("config"), "ca_cert")
	both := old + modaltest.Start(t, modaltest.WithTLS()).CACert()

	require.Contains(t, m.refused(logical.UpdateOperation, "config", map[string]any{"ca_cert": both, "force": true}), "is sent only to the server that accepted it")
	require.Contains(t, m.refused(logical.UpdateOperation, "config", also(admin, "ca_cert", both)), "force=true")
	m.write("config", also(admin, "ca_cert", both, "force", true))
	require.Equal(t, true, m.write("verify/ci", nil).Data["accepted"])

	m.write("config", also(admin, "ca_cert", old)) // The test's server keeps its certificate.
	require.Equal(t, old, textIn(m.read("config"), "ca_cert"))
	require.Equal(t, true, m.write("verify/ci", nil).Data["accepted"])
	require.Empty(t, m.list("revocations"), "the present admin token stays in use")
}
