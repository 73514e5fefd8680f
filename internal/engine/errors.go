// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"errors"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// nothingChanged ends the message of a request that was refused.
const nothingChanged = "; nothing was changed"

// refusal is a mistake of the operator's, told in words for the operator.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// Refusef is a mistake of the operator's, told in words for the operator.
func Refusef(format string, args ...any) error {
	return &refusal{text: fmt.Sprintf(format, args...)}
}

// notFoundError says that an object does not exist.
type notFoundError struct{ text string }

func (n *notFoundError) Error() string { return n.text }

func notFoundf(format string, args ...any) error {
	return &notFoundError{text: fmt.Sprintf(format, args...)}
}

// IsNotFound reports whether an error says that an object does not exist: it is answered with 404.
func IsNotFound(err error) bool {
	missing := (*notFoundError)(nil)
	return errors.As(err, &missing)
}

// IsMistake says whether an error is the operator's to mend: it is answered with 400.
func IsMistake(err error) bool {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return true
	}
	if unusable := (*unusableError)(nil); errors.As(err, &unusable) {
		return false
	}
	switch modalapi.KindOf(modalapi.AsUnavailable(err)) {
	case modalapi.KindRefused, modalapi.KindForbidden, modalapi.KindInvalid, modalapi.KindNotFound,
		modalapi.KindExists, modalapi.KindConflict:
		return true
	case modalapi.KindNone, modalapi.KindThrottled, modalapi.KindUnavailable, modalapi.KindUnsupported:
	}
	return false
}

// IsAway says that a caller went away before it was its turn.
func IsAway(err error) bool {
	away := (*notHeldError)(nil)
	return errors.As(err, &away)
}

// IsModals says that Modal, and not the operator or the storage, is the reason of an error.
func IsModals(err error) bool {
	unusable := (*unusableError)(nil)
	return errors.As(err, &unusable) || modalapi.KindOf(err) != modalapi.KindNone
}

// unchanged says of a failed proof what was tried, that nothing was stored, and what to do next.
func unchanged(pair Token, err error) error {
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
		return err
	case modalapi.KindRefused:
		return Refusef("Modal refused token %s when asked whose it is: %s; nothing was changed: check that the secret belongs to this ID, "+
			"that the token was not deleted or expired, and that config's server_url is the Modal it was made for", pair.ID, modalapi.Said(err))
	default:
		return fmt.Errorf("could not verify token %s with Modal: %w; nothing was changed: try again, or store it unproven with verify=false", pair.ID, err)
	}
}
