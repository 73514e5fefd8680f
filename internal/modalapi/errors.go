// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind is what a failed call means to its caller.
type Kind int

// The kinds of failure, with the gRPC codes they stand for.
const (
	// KindNone is no answer of Modal's: the error came from this side, before anything was sent.
	KindNone Kind = iota
	// KindRefused means that Modal does not accept the token: UNAUTHENTICATED, also when it comes as
	// an HTTP 401 (seen live by a third party).
	KindRefused
	// KindForbidden means that the token is good but may not do this: PERMISSION_DENIED.
	KindForbidden
	// KindNotFound means that the object does not exist: NOT_FOUND.
	KindNotFound
	// KindExists means that the name is taken: ALREADY_EXISTS.
	KindExists
	// KindConflict means that the state forbids it: FAILED_PRECONDITION, ABORTED.
	KindConflict
	// KindInvalid means that the request makes no sense to Modal: INVALID_ARGUMENT, OUT_OF_RANGE.
	KindInvalid
	// KindThrottled means that Modal asks to wait longer than the call could: RESOURCE_EXHAUSTED.
	KindThrottled
	// KindUnsupported means that Modal does not know the call: UNIMPLEMENTED.
	KindUnsupported
	// KindUnavailable means that no answer came that could be used: everything else.
	KindUnavailable
)

var kindNames = map[Kind]string{
	KindNone:        "not an answer of Modal's",
	KindRefused:     "refused",
	KindForbidden:   "forbidden",
	KindNotFound:    "not found",
	KindExists:      "already exists",
	KindConflict:    "conflict",
	KindInvalid:     "invalid",
	KindThrottled:   "throttled",
	KindUnsupported: "unsupported",
	KindUnavailable: "unavailable",
}

// String returns the kind in words.
func (k Kind) String() string {
	return kindNames[k]
}

// The map of Modal's Python client v1.5.4, _grpc_client.py; a code not listed is KindUnavailable.
var kindsByCode = map[codes.Code]Kind{
	codes.Unauthenticated:    KindRefused,
	codes.PermissionDenied:   KindForbidden,
	codes.NotFound:           KindNotFound,
	codes.AlreadyExists:      KindExists,
	codes.FailedPrecondition: KindConflict,
	codes.Aborted:            KindConflict,
	codes.InvalidArgument:    KindInvalid,
	codes.OutOfRange:         KindInvalid,
	codes.ResourceExhausted:  KindThrottled,
	codes.Unimplemented:      KindUnsupported,
}

// Error is a call that failed.
type Error struct {
	Kind Kind
	// RPC is the method's name, such as "TokenInfoGet".
	RPC string
	// Message is Modal's text, redacted, or ours where Modal gave no answer.
	Message string
	// RetryAfter is how long Modal asks to wait, when it does.
	RetryAfter time.Duration

	cause error
}

// Error returns the method, the kind and the message.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.RPC, e.Kind)
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (Modal asks to wait %s)", e.RetryAfter)
	}
	return b.String()
}

// Unwrap returns [context.Canceled] or [context.DeadlineExceeded] when one of them ended the call,
// else nil: what gRPC said stays inside this package.
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of the *Error in err's chain, or KindNone when there is none.
func KindOf(err error) Kind {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Kind
	}
	return KindNone
}

func newError(rpc string, err error) *Error {
	answer := status.Convert(err)
	kind, known := kindsByCode[answer.Code()]
	if !known {
		kind = KindUnavailable
	}
	return &Error{Kind: kind, RPC: rpc, Message: Redact(answer.Message())}
}

// distrust is the error of an answer that cannot be the one to the question.
func (c *Client) distrust(rpc, flaw string) *Error {
	return &Error{Kind: KindUnavailable, RPC: rpc, Message: c.host + " gave an answer that cannot be trusted: " + flaw}
}
