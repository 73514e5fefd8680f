// SPDX-License-Identifier: MPL-2.0

package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoots_BinaryBringsRootCertificates(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux reads its root certificates from SSL_CERT_FILE")
	}
	if os.Getenv("WITHOUT_ROOTS") != "" {
		roots, err := x509.SystemCertPool()
		require.NoError(t, err)
		require.False(t, roots.Equal(x509.NewCertPool()))
		fmt.Println("found root certificates")
		return
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), "WITHOUT_ROOTS=1", "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent")
	output, err := again.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), "found root certificates")
}
