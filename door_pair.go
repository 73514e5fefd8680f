// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/modalapi"
)

// emptyPair is the mistake of a request whose token_id and token_secret are both empty.
const emptyPair = "token_id and token_secret are empty, as unset variables are: write both halves of a token, or leave both out"

// supplied reads token_id, token_secret and verify. Neither half can be empty.
func (in *door) supplied(whenEmpty string) engine.Supplied {
	before := len(in.wrong)
	id, secret, verify := in.text(fieldTokenID), in.text(fieldTokenSecret), in.flag(fieldVerify)
	s := engine.Supplied{Verify: verify.Over(true, true)}
	for _, field := range []string{fieldVerify, fieldTokenSecret, fieldTokenID} {
		if in.body[field] != nil {
			s.Said = field
		}
	}
	if (!id.Asked && !secret.Asked) || len(in.wrong) > before {
		return s
	}
	if strings.TrimSpace(id.Value+secret.Value) == "" && id.Asked && secret.Asked {
		in.wrong = append(in.wrong, whenEmpty)
		return s
	}
	pair, warnings, err := modalapi.ParseToken(id.Value, secret.Value)
	if err != nil {
		in.wrong = append(in.wrong, err.Error())
		return s
	}
	s.Pair, s.Warnings = &pair, warnings
	return s
}
