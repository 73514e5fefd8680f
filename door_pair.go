// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// emptyPair is the mistake of a request whose token_id and token_secret are both empty.
const emptyPair = "token_id and token_secret are empty, as unset variables are: write both halves of a token, or leave both out"

// supplied reads token_id, token_secret and verify. Neither half can be empty.
func (in *door) supplied(whenEmpty string) model.Supplied {
	before := len(in.wrong)
	id, secret, verify := in.text(fieldTokenID), in.text(fieldTokenSecret), in.flag(fieldVerify)
	s := model.Supplied{Verify: verify.Apply(true, true)}
	s.Given = in.given(fieldTokenID, fieldTokenSecret, fieldVerify)
	if (!id.Set && !secret.Set) || len(in.wrong) > before {
		return s
	}
	if strings.TrimSpace(id.Value+secret.Value) == "" && id.Set && secret.Set {
		in.wrong = append(in.wrong, whenEmpty)
		return s
	}
	wrappedID, wrappedSecret := in.refuseWrapped(fieldTokenID, id.Value, "ak-"), in.refuseWrapped(fieldTokenSecret, secret.Value, "as-")
	if wrappedID || wrappedSecret {
		return s
	}
	pair, warnings, err := modalapi.ParseToken(id.Value, secret.Value)
	if err != nil {
		in.wrong = append(in.wrong, err.Error())
		return s
	}
	s.Token, s.Warnings = &pair, warnings
	return s
}

// wrappings are marks of texts that contain a token, and that people paste whole.
var wrappings = []struct{ mark, looks string }{
	{"token_id", "a part of a .modal.toml"},
	{"token_secret", "a part of a .modal.toml"},
	{"[", "a part of a .modal.toml"},
	{"--token-", "the command modal token set"},
	{"MODAL_TOKEN_", "a line that sets an environment variable"},
	{"export ", "a line that sets an environment variable"},
}

// refuseWrapped refuses a token ID or secret within a longer text, and names the kind of text.
func (in *door) refuseWrapped(field, value, prefix string) (refused bool) {
	for _, wrapping := range wrappings {
		if strings.Contains(value, wrapping.mark) {
			in.refuse(field, fmt.Sprintf("this looks like %s: paste only the part that begins with %q, without quotes", wrapping.looks, prefix))
			return true
		}
	}
	return false
}
