// SPDX-License-Identifier: MPL-2.0

package request

import (
	"fmt"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// EmptyToken is the mistake of a request in which token_id and token_secret are both empty.
const EmptyToken = "token_id and token_secret are empty, as if their variables were unset: write both, or leave both out"

// Token reads token_id, token_secret and verify. A request has both token_id and token_secret, or neither.
func (in *Decoder) Token(whenEmpty string) model.Supplied {
	before := len(in.mistakes)
	id, secret, verify := in.Text(FieldTokenID), in.Text(FieldTokenSecret), in.Flag(FieldVerify)
	s := model.Supplied{Verify: verify.Apply(true, true)}
	s.Given = in.Given(FieldTokenID, FieldTokenSecret, FieldVerify)
	if (!id.Set && !secret.Set) || len(in.mistakes) > before {
		return s
	}
	if strings.TrimSpace(id.Value+secret.Value) == "" && id.Set && secret.Set {
		in.mistakes = append(in.mistakes, whenEmpty)
		return s
	}
	wrappedID, wrappedSecret := in.refuseWrapped(FieldTokenID, id.Value, "ak-"), in.refuseWrapped(FieldTokenSecret, secret.Value, "as-")
	if wrappedID || wrappedSecret {
		return s
	}
	pair, warnings, err := modalapi.ParseToken(id.Value, secret.Value)
	if err != nil {
		mistake := err.Error()
		if strings.TrimSpace(id.Value) == "" || strings.TrimSpace(secret.Value) == "" {
			mistake += ": give both token_id and token_secret"
		}
		in.mistakes = append(in.mistakes, mistake)
		return s
	}
	s.Token, s.Warnings = &pair, warnings
	return s
}

// wrappings are marks of longer texts that contain a token.
var wrappings = []struct{ mark, looks string }{
	{"token_id", "a part of a .modal.toml"},
	{"token_secret", "a part of a .modal.toml"},
	{"[", "a part of a .modal.toml"},
	{"--token-", "the command modal token set"},
	{"MODAL_TOKEN_", "a line that sets an environment variable"},
	{"export ", "a line that sets an environment variable"},
}

// refuseWrapped refuses a token ID or secret within a longer text, and names the kind of text.
func (in *Decoder) refuseWrapped(field, value, prefix string) (refused bool) {
	for _, wrapping := range wrappings {
		if strings.Contains(value, wrapping.mark) {
			in.Refuse(field, fmt.Sprintf("this looks like %s: paste only the part that begins with %q, without quotes", wrapping.looks, prefix))
			return true
		}
	}
	return false
}
