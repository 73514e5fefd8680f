// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// supplied is the token that a request brings, and how it is to be taken.
type supplied struct {
	pair     *modalapi.Token // nil where the request brings none
	verify   bool            // Modal is asked before the token is stored
	warnings []string        // what looks odd about the pair
	said     string          // a field of these that the request has, "" for none
}

// emptyPair is the mistake of a request whose token_id and token_secret are both empty.
const emptyPair = "token_id and token_secret are empty, as unset variables are: write both halves of a token, or leave both out"

// supplied reads token_id, token_secret and verify. Neither half can be empty.
func (in *door) supplied(whenEmpty string) supplied {
	before := len(in.wrong)
	id, secret, verify := in.text(fieldTokenID), in.text(fieldTokenSecret), in.flag(fieldVerify)
	s := supplied{verify: verify.Over(true, true)}
	for _, field := range []string{fieldVerify, fieldTokenSecret, fieldTokenID} {
		if in.body[field] != nil {
			s.said = field
		}
	}
	if (!id.asked && !secret.asked) || len(in.wrong) > before {
		return s
	}
	if strings.TrimSpace(id.value+secret.value) == "" && id.asked && secret.asked {
		in.wrong = append(in.wrong, whenEmpty)
		return s
	}
	pair, warnings, err := modalapi.ParseToken(id.value, secret.value)
	if err != nil {
		in.wrong = append(in.wrong, err.Error())
		return s
	}
	s.pair, s.warnings = &pair, warnings
	return s
}

// refuseForManaged refuses what only an operator of a static role brings.
func (s supplied) refuseForManaged() error {
	if s.said == "" {
		return nil
	}
	return refusef("%s is for static roles: the engine mints the tokens of a managed role; leave it out; nothing was changed", s.said)
}
