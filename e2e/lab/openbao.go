// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"strings"
)

// openBaoConfig is what OpenBao's server needs in addition to Vault's configuration: the labs enable their
// audit device over the API, which OpenBao refuses by default.
const openBaoConfig = `unsafe_allow_api_audit_creation = true
`

// isOpenBao asks the binary whether it is OpenBao's.
func (t *Tools) isOpenBao(ctx context.Context) (bool, error) {
	version, err := t.output(ctx, t.Vault, "version")
	return strings.HasPrefix(version, "OpenBao "), err
}
