// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// docs/how-to/renew-a-corporate-ca.md has these steps. The tests of the pages cannot run them, because make dev has no
// server with TLS.
func TestConfig_CAIsRenewedWithThePresentAdminToken(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	admin := mounttest.TokenData(member.NewToken())
	m.Write("config", admin)
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(member.NewToken()), "type", "static"))
	old := mounttest.TextIn(m.Read("config"), "ca_cert")
	both := old + modaltest.Start(t, modaltest.WithTLS()).CACert()

	require.Contains(t, m.Refused(logical.UpdateOperation, "config", map[string]any{"ca_cert": both, "force": true}), "is sent only to the server that accepted it")
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", mounttest.Also(admin, "ca_cert", both)), "force=true")
	m.Write("config", mounttest.Also(admin, "ca_cert", both, "force", true))
	require.Equal(t, true, m.Write("verify/ci", nil).Data["accepted"])

	m.Write("config", mounttest.Also(admin, "ca_cert", old)) // The test's server keeps its certificate.
	require.Equal(t, old, mounttest.TextIn(m.Read("config"), "ca_cert"))
	require.Equal(t, true, m.Write("verify/ci", nil).Data["accepted"])
	require.Empty(t, m.List("revocations"), "the present admin token stays in use")
}
