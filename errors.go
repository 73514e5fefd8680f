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

// answer turns an error into what Vault tells the caller: 400 for a mistake or a token that Modal
// refuses, 502 for trouble at Modal, 500 for the rest. Coded errors stay bare and storage errors keep
// their text, as the plugin protocol carries nothing else.
func answer(err error) (*logical.Response, error) {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return logical.ErrorResponse("%s", err), logical.ErrInvalidRequest
	}
	if unusable := (*unusableError)(nil); errors.As(err, &unusable) {
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	}
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
		return nil, err
	case modalapi.KindRefused, modalapi.KindForbidden, modalapi.KindInvalid, modalapi.KindNotFound,
		modalapi.KindExists, modalapi.KindConflict:
		return logical.ErrorResponse("%s", err), logical.ErrInvalidRequest
	case modalapi.KindThrottled, modalapi.KindUnavailable, modalapi.KindUnsupported:
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	}
	return nil, err
}

// unchanged says of a failed proof what was tried, that nothing was stored, and what to do next.
func unchanged(pair modalapi.Token, err error) error {
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
