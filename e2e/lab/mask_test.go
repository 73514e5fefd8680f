// SPDX-License-Identifier: MPL-2.0

package lab_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestMask_ShowsSixCharactersOfASecretAndTheWholeTokenID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"token_id=ak-0123456789abcdefABCDEF token_secret=as-0123456789abcdefABCDEF": "token_id=ak-0123456789abcdefABCDEF token_secret=as-012…",
		"token_secret = \"as-0123456789abcdefABCDEF\"\nactive = true\n":             "token_secret = \"as-012…\"\nactive = true\n",
		"wrapping_token hvs.CAESIabcdef-gh_i":                                       "wrapping_token hvs.CA…",
		"VAULT_TOKEN=s.0123456789abcdefABCDEFgh":                                    "VAULT_TOKEN=s.0123…",
		"MODAL_IDENTITY_TOKEN=eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln-n_":         "MODAL_IDENTITY_TOKEN=eyJhbG…",
		"was-it-there, has-been, roles/ci":                                          "was-it-there, has-been, roles/ci",
	} {
		require.Equal(t, want, lab.Mask(text))
	}
}
