// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
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
	// KindRefused means that the token is rejected: UNAUTHENTICATED from Modal, or a bare HTTP 401, which
	// a proxy can answer too (Error.HTTPStatus tells them apart).
	KindRefused
	// KindForbidden means that the token is good but may not do this: PERMISSION_DENIED.
	KindForbidden
	// KindNotFound means that the object does not exist: NOT_FOUND.
	KindNotFound
	// KindExists means that the name is taken: ALREADY_EXISTS.
	KindExists
	// KindConflict means that the state forbids it: FAILED_PRECONDITION.
	KindConflict
	// KindInvalid means that the request makes no sense to Modal: INVALID_ARGUMENT, OUT_OF_RANGE.
	KindInvalid
	// KindThrottled means that Modal asks to wait longer than the call could: RESOURCE_EXHAUSTED.
	KindThrottled
	// KindUnsupported means that Modal does not know the call: UNIMPLEMENTED over gRPC, or the way in which
	// grpclib says it (see unknownMethod).
	KindUnsupported
	// KindUnavailable means that no usable answer came: everything else. ABORTED belongs here, because it
	// passes and says nothing about Modal's abilities. Every bare HTTP answer but 401 belongs here too.
	KindUnavailable
)

var kindNames = map[Kind]string{
	KindNone:        "not an answer of Modal's",
	KindRefused:     "rejected",
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

// The map of Modal's Python client v1.5.4, _grpc_client.py, but for ABORTED; a code not listed is
// KindUnavailable.
var kindsByCode = map[codes.Code]Kind{
	codes.Unauthenticated:    KindRefused,
	codes.PermissionDenied:   KindForbidden,
	codes.NotFound:           KindNotFound,
	codes.AlreadyExists:      KindExists,
	codes.FailedPrecondition: KindConflict,
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
	// HTTPStatus is the status of a bare HTTP answer, one without gRPC: a proxy or gateway gave it in
	// Modal's place. It is 0 when the answer came over gRPC, or no answer came.
	HTTPStatus int
	// Message is Modal's text, redacted and of at most 300 bytes, or ours where Modal gave no answer.
	Message string
	// RetryAfter is how long Modal asks to wait, when it does.
	RetryAfter time.Duration
	// Tried says that an attempt before this one, which was throttled, may have been done.
	Tried bool

	cause error
}

// Error says in words what was asked of Modal and what came back.
func (e *Error) Error() string {
	asked, known := requests[e.RPC]
	if !known {
		asked = request{"answer " + e.RPC, "thing"}
	}
	var text string
	switch e.Kind {
	case KindRefused:
		text = "Modal rejected the token"
		if e.HTTPStatus != 0 {
			text = "the token was rejected when Modal was asked to " + asked.verb
		}
	case KindForbidden:
		text = "Modal says that this token may not " + asked.verb
	case KindNotFound:
		text = "Modal has no such " + asked.object
	case KindExists:
		text = "Modal has a " + asked.object + " of that name already"
	case KindConflict:
		text = "Modal says that it cannot " + asked.verb + " as things are"
	case KindInvalid:
		text = "Modal takes the request to " + asked.verb + " for a mistake"
	case KindThrottled:
		text = "Modal is too busy to " + asked.verb
		if e.RetryAfter > 0 {
			text = fmt.Sprintf("Modal asks to wait %s before it would %s", spell(e.RetryAfter), asked.verb)
		}
	case KindUnsupported:
		text = "Modal does not know how to " + asked.verb
	case KindNone, KindUnavailable:
		text = "Modal gave no usable answer when asked to " + asked.verb
	}
	if e.Message == "" {
		return text
	}
	return text + ": " + e.Message
}

// spell is a duration as people write it: 1m, not 1m0s.
func spell(d time.Duration) string {
	text := d.String()
	if before, cut := strings.CutSuffix(text, "m0s"); cut {
		text = before + "m"
	}
	if before, cut := strings.CutSuffix(text, "h0m"); cut {
		text = before + "h"
	}
	return text
}

// request is a call in words: Modal is asked to do the verb, with an object.
type request struct{ verb, object string }

var requests = map[string]request{
	"TokenInfoGet":         {"say whose token this is", "token"},
	"ServiceUserCreate":    {"create the service user", "service user"},
	"ServiceUserDelete":    {"delete the service user", "service user"},
	"ServiceUserInfo":      {"describe the service user", "service user"},
	"ServiceUserList":      {"list the service users", "workspace"},
	"EnvironmentRoleSet":   {"set the role in an environment", "environment or service user"},
	"EnvironmentList":      {"list the environments", "workspace"},
	"WorkspaceMembersList": {"list the members", "workspace"},
	"TokenDelete":          {"delete the token", "token"},
	"TokensList":           {"list the members' tokens", "workspace"},
	"TokenFlowCreate":      {"begin an approval", "approval"},
	"TokenFlowWait":        {"wait for the approval", "approval"},
}

// Said returns Modal's own words in err's chain, for a text that says itself what they are about, or
// all of err when it is none of Modal's.
func Said(err error) string {
	var failure *Error
	if errors.As(err, &failure) {
		return cmp.Or(failure.Message, "it gave no reason")
	}
	return err.Error()
}

// Unwrap returns [context.Canceled] or [context.DeadlineExceeded] when one of them ended the call,
// else nil: what gRPC said stays inside this package.
func (e *Error) Unwrap() error { return e.cause }

// MayBeDone reports whether a call that failed may have been done all the same. A bare HTTP answer never
// excludes it: a gateway gives its own answer also after Modal did the work.
func MayBeDone(err error) bool {
	var failure *Error
	if !errors.As(err, &failure) {
		return false
	}
	return failure.Tried || failure.HTTPStatus != 0 || failure.Kind == KindUnavailable || failure.Kind == KindThrottled
}

// BareHTTP reports whether the *Error in err's chain is a bare HTTP answer: a proxy or gateway answered
// the call, and nothing shows that Modal saw it.
func BareHTTP(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.HTTPStatus != 0
}

// AsUnavailable returns err as one of KindUnavailable if it is a bare HTTP answer, and else err itself: for callers
// to whom a status that Modal did not give says nothing.
func AsUnavailable(err error) error {
	var failure *Error
	if !errors.As(err, &failure) || failure.HTTPStatus == 0 {
		return err
	}
	unavailable := *failure
	unavailable.Kind = KindUnavailable
	return &unavailable
}

// KindOf returns the kind of the *Error in err's chain, or KindNone when there is none.
func KindOf(err error) Kind {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Kind
	}
	return KindNone
}

// newError returns the error of an attempt. A gRPC code is Modal's only if it came over gRPC. The library
// grpc-go also invents codes: for an HTTP status (403 becomes PERMISSION_DENIED), for a stream that was
// reset, and for its own limits.
func (a *attempts) newError(err error, overGRPC bool) *Error {
	answer := status.Convert(err)
	failure := &Error{Kind: KindUnavailable, RPC: a.rpc}
	httpStatus, bare := bareStatus(answer.Message())
	switch kind, known := kindsByCode[answer.Code()]; {
	case strings.HasPrefix(answer.Message(), tooLarge):
		failure.Message = fmt.Sprintf("the answer is larger than %d MiB, which is too large to be true", a.limit>>20)
		return failure
	case overGRPC && known:
		failure.Kind = kind
	case !overGRPC && strings.TrimSuffix(answer.Message(), noData) == unknownMethod:
		failure.Kind, failure.Message = KindUnsupported, "it does not have the method "+a.rpc
		return failure
	case !overGRPC && bare:
		failure.HTTPStatus = httpStatus
		failure.Message = fmt.Sprintf("server_url %s answered HTTP %s without gRPC: a proxy or gateway gave this answer, or the server is not Modal's API",
			a.server, strings.TrimSpace(fmt.Sprint(httpStatus, " ", http.StatusText(httpStatus))))
		if httpStatus == http.StatusUnauthorized {
			failure.Kind = KindRefused
		}
		return failure
	}
	text := answer.Message()
	if !overGRPC {
		text = fmt.Sprintf("no answer from server_url %s: %s", a.server, strings.TrimSuffix(ownWords.Replace(text), `"`))
	}
	failure.Message = Redact(text, a.secrets...)
	return failure
}

// ownWords are parts of grpc-go's errors that tell an operator nothing, or not enough.
var ownWords = strings.NewReplacer(`connection error: desc = "`, "", "transport: ", "",
	"name resolver error: produced zero addresses", "its host name has no address")

// The texts with which grpc-go v1.85.0 reports an answer that is not gRPC (internal/transport,
// http2_client.go and client_stream.go), or too large.
const (
	bareAnswer = "unexpected HTTP status code received from server: "
	// unknownMethod is how grpc-go reports a method that a grpclib server, as Modal's own mock is, does not
	// have: HTTP 200, no content type and no body.
	unknownMethod = bareAnswer + "200 (OK); malformed header: missing HTTP content-type"
	noData        = "\ndata: \"\""
	// tooLarge is for an answer beyond the limit of its call (rpc_util.go).
	tooLarge = "grpc: received message larger than max"
)

// bareStatus returns the HTTP status in grpc-go's report of an answer that is not gRPC.
func bareStatus(report string) (httpStatus int, bare bool) {
	rest, bare := strings.CutPrefix(report, bareAnswer)
	number, _, _ := strings.Cut(rest, " ")
	httpStatus, err := strconv.Atoi(number)
	return httpStatus, bare && err == nil
}

// distrust is the error of an answer that cannot be the one to the question.
func (c *Client) distrust(rpc, flaw string) *Error {
	return &Error{Kind: KindUnavailable, RPC: rpc, Message: "the answer of " + c.host + " cannot be trusted: " + flaw}
}
