// SPDX-License-Identifier: MPL-2.0

package model

import (
	"errors"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// IsTransient reports whether an error of a call to Modal may disappear if the call is repeated a moment later.
func IsTransient(err error) bool {
	kind := modalapi.KindOf(err)
	var r *UserError
	return !errors.As(err, &r) && (kind == modalapi.KindUnavailable || kind == modalapi.KindThrottled)
}

// IsUnanswered reports whether a question to Modal got no answer, so that the engine must ask again.
func IsUnanswered(err error) bool { return err != nil && (IsStorageError(err) || IsTransient(err)) }

// IsStorageError reports whether the failure is on Vault's side, in storage for example, and not an answer of Modal
// or a mistake of the operator.
func IsStorageError(err error) bool {
	var r *UserError
	return err != nil && modalapi.KindOf(err) == modalapi.KindNone && !errors.As(err, &r)
}

// NothingChanged ends the message of a refused request.
const NothingChanged = "; nothing was changed"

// UserError is an operator's mistake, explained to the operator.
type UserError struct{ text string }

func (r *UserError) Error() string { return r.text }

// UserErrorf returns the error for an operator's mistake.
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

// IsNotFound reports whether an error says that an object does not exist. The answer is then a 404.
func IsNotFound(err error) bool {
	missing := (*notFoundError)(nil)
	return errors.As(err, &missing)
}

// IsUserError reports whether the operator can correct the cause of an error. The answer is then a 400.
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

// IsCanceled reports whether a caller left before its request had its turn.
func IsCanceled(err error) bool {
	away := (*CanceledError)(nil)
	return errors.As(err, &away)
}

// IsUpstream reports whether Modal caused an error, and not the operator or the storage.
func IsUpstream(err error) bool {
	unusable := (*UnusableError)(nil)
	return errors.As(err, &unusable) || modalapi.KindOf(err) != modalapi.KindNone
}

// VerificationError returns the error of a failed verification. It says that nothing was changed, and what to do
// next.
func VerificationError(t Token, err error) error {
	switch modalapi.KindOf(err) {
	case modalapi.KindNone:
		return err
	case modalapi.KindRefused:
		return UserErrorf("Modal rejected token %s when asked for its owner: %s; nothing was changed: check that the secret belongs to this ID, "+
			"that the token was not deleted and has not expired, and that config's server_url is the server that created it", t.ID, modalapi.Said(err))
	default:
		return fmt.Errorf("could not verify token %s with Modal: %w; nothing was changed: try again, or store the token unverified with verify=false", t.ID, err)
	}
}

// UnusableError says that a new service user differs from what the engine asked for, or is not ready yet.
type UnusableError struct {
	// Text explains the problem.
	Text string
	// Passing says that the service user may become usable a moment later.
	Passing bool
}

func (e *UnusableError) Error() string { return e.Text }

// CanceledError is the error for a caller that left before its request had its turn.
type CanceledError struct {
	// Name is the role, or other object, that the request waited for.
	Name string
	// Cause is the error of the caller's context.
	Cause error
}

func (e *CanceledError) Error() string {
	return fmt.Sprintf("another request is still working on %s, and this request ended before its turn came: nothing was changed; try again (%s)", e.Name, e.Cause)
}

func (e *CanceledError) Unwrap() error { return e.Cause }
