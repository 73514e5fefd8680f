// SPDX-License-Identifier: MPL-2.0

package model

import (
	"errors"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// IsTransient says of an answer of Modal's that the same question may be answered otherwise a moment later.
func IsTransient(err error) bool {
	kind := modalapi.KindOf(err)
	var r *UserError
	return !errors.As(err, &r) && (kind == modalapi.KindUnavailable || kind == modalapi.KindThrottled)
}

// IsUnanswered reports whether a question to Modal was not answered, so that it has to be asked again.
func IsUnanswered(err error) bool { return err != nil && (IsStorageError(err) || IsTransient(err)) }

// IsStorageError tells a failure of ours from an answer, or no answer, of Modal's.
func IsStorageError(err error) bool {
	var r *UserError
	return err != nil && modalapi.KindOf(err) == modalapi.KindNone && !errors.As(err, &r)
}

// NothingChanged ends the message of a request that was refused.
const NothingChanged = "; nothing was changed"

// UserError is a mistake of the operator's, told in words for the operator.
type UserError struct{ text string }

func (r *UserError) Error() string { return r.text }

// UserErrorf is a mistake of the operator's, told in words for the operator.
func UserErrorf(format string, args ...any) error {
	return &UserError{text: fmt.Sprintf(format, args...)}
}

// notFoundError says that an object does not exist.
type notFoundError struct{ text string }

func (n *notFoundError) Error() string { return n.text }

// NotFoundf returns the error for an object that does not exist.
func NotFoundf(format string, args ...any) error {
	return &notFoundError{text: fmt.Sprintf(format, args...)}
}

// IsNotFound reports whether an error says that an object does not exist: it is answered with 404.
func IsNotFound(err error) bool {
	missing := (*notFoundError)(nil)
	return errors.As(err, &missing)
}

// IsUserError says whether an error is the operator's to mend: it is answered with 400.
func IsUserError(err error) bool {
	if r := (*UserError)(nil); errors.As(err, &r) {
		return true
	}
	if unusable := (*UnusableError)(nil); errors.As(err, &unusable) {
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

// IsCanceled says that a caller went away before it was its turn.
func IsCanceled(err error) bool {
	away := (*CanceledError)(nil)
	return errors.As(err, &away)
}

// IsUpstream says that Modal, and not the operator or the storage, is the reason of an error.
func IsUpstream(err error) bool {
	unusable := (*UnusableError)(nil)
	return errors.As(err, &unusable) || modalapi.KindOf(err) != modalapi.KindNone
}

// VerificationError says of a failed proof what was tried, that nothing was stored, and what to do next.
func VerificationError(pair Token, err error) error {
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
		return err
	case modalapi.KindRefused:
		return UserErrorf("Modal refused token %s when asked whose it is: %s; nothing was changed: check that the secret belongs to this ID, "+
			"that the token was not deleted or expired, and that config's server_url is the Modal it was made for", pair.ID, modalapi.Said(err))
	default:
		return fmt.Errorf("could not verify token %s with Modal: %w; nothing was changed: try again, or store it unproven with verify=false", pair.ID, err)
	}
}

// UnusableError is a new service user that is not what was asked for, or not yet.
type UnusableError struct {
	Text    string
	Passing bool
}

func (e *UnusableError) Error() string { return e.Text }

// CanceledError is what a caller gets that went away before it was its turn.
type CanceledError struct {
	Name  string
	Cause error
}

func (e *CanceledError) Error() string {
	return fmt.Sprintf("another request still works on %s, and this one ended before it was done: nothing was changed; try again (%s)", e.Name, e.Cause)
}

func (e *CanceledError) Unwrap() error { return e.Cause }
