// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// refusal is a mistake of the operator's, told in words for the operator.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refusef(format string, args ...any) error {
	return &refusal{text: fmt.Sprintf(format, args...)}
}

// isMistake says whether an error is the operator's to mend: it is answered with 400.
func isMistake(err error) bool {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return true
	}
	if unusable := (*unusableError)(nil); errors.As(err, &unusable) {
		return false
	}
	switch modalapi.KindOf(err) {
	case modalapi.KindRefused, modalapi.KindForbidden, modalapi.KindInvalid, modalapi.KindNotFound,
		modalapi.KindExists, modalapi.KindConflict:
		return true
	case modalapi.KindNone, modalapi.KindThrottled, modalapi.KindUnavailable, modalapi.KindUnsupported:
	}
	return false
}

// answer turns an error into what Vault tells the caller: 400 for a mistake or a token that Modal
// refuses, 502 for trouble at Modal, 500 for the rest. Coded errors stay bare and storage errors keep
// their text, as the plugin protocol carries nothing else.
func answer(err error) (*logical.Response, error) {
	unusable := (*unusableError)(nil)
	kind := modalapi.KindOf(err)
	away := (*notHeldError)(nil)
	switch {
	case isMistake(err):
		return logical.ErrorResponse("%s", err), logical.ErrInvalidRequest
	case errors.As(err, &away):
		return nil, logical.CodedError(http.StatusServiceUnavailable, err.Error())
	case errors.As(err, &unusable) || kind != modalapi.KindNone:
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	}
	return nil, err
}

// unchanged says of a failed proof what was tried, that nothing was stored, and what to do next.
func unchanged(pair Token, err error) error {
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
		return err
	case modalapi.KindRefused:
		return refusef("Modal refused token %s: %s; nothing was changed: check that the secret belongs to this ID, "+
			"that the token was not deleted or expired, and that config's server_url is the Modal it was made for", pair.ID, modalapi.Said(err))
	default:
		return fmt.Errorf("could not verify token %s with Modal; nothing was changed: try again, or store it unproven with verify=false: %w", pair.ID, err)
	}
}
