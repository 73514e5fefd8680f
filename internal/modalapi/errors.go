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

	"vault-plugin-secrets-modal/internal/duration"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind classifies a failed call by its meaning for the caller.
type Kind int

// These are the kinds of failure, each with its gRPC codes.
const (
	// KindNone means that Modal gave no answer, because nothing was sent: the error came from this side.
	KindNone Kind = iota
	// KindRefused means that the token was rejected: UNAUTHENTICATED from Modal, or a bare HTTP 401. A proxy
	// can answer 401 too; Error.HTTPStatus distinguishes the two.
	KindRefused
	// KindForbidden means that Modal accepts the token but does not allow this call: PERMISSION_DENIED.
	KindForbidden
	// KindNotFound means that the object does not exist: NOT_FOUND.
	KindNotFound
	// KindExists means that the name is in use: ALREADY_EXISTS.
	KindExists
	// KindConflict means that the current state does not allow the call: FAILED_PRECONDITION.
	KindConflict
	// KindInvalid means that Modal does not accept the request: INVALID_ARGUMENT, OUT_OF_RANGE.
	KindInvalid
	// KindThrottled means that Modal asks for a longer wait than the call's deadline allows:
	// RESOURCE_EXHAUSTED.
	KindThrottled
	// KindUnsupported means that the server does not have the method: UNIMPLEMENTED over gRPC, or the answer
	// of a grpclib server (see unknownMethod).
	KindUnsupported
	// KindUnavailable means that no usable answer came: everything else. ABORTED belongs here, because it is
	// temporary and says nothing about Modal's features. Every bare HTTP answer other than 401 belongs here
	// too.
	KindUnavailable
)

var kindNames = map[Kind]string{
	KindNone:        "not from Modal",
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

func (k Kind) String() string {
	return kindNames[k]
}

// kindsByCode is the map of Modal's Python client 1.6.4, _grpc_client.py, without ABORTED. A code that is
// not listed is KindUnavailable.
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

// Error is a failed call.
type Error struct {
	Kind Kind
	// RPC is the name of the method, for example "TokenInfoGet".
	RPC string
	// HTTPStatus is the status of a bare HTTP answer: an answer without gRPC, which a proxy or gateway gave
	// instead of Modal. It is 0 if the answer came over gRPC or if no answer came.
	HTTPStatus int
	// Message is Modal's text, redacted and at most 300 bytes long. If Modal gave no answer, it is a text of
	// this package.
	Message string
	// RetryAfter is the wait that Modal asks for; zero if Modal asks for none.
	RetryAfter time.Duration
	// Tried reports that an earlier, throttled attempt may have done the work.
	Tried bool

	cause error
}

// Error says what Modal was asked to do and what it answered.
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
			text = "the token was rejected when the engine asked Modal to " + asked.verb
		}
	case KindForbidden:
		text = "Modal says that this token may not " + asked.verb
	case KindNotFound:
		text = "Modal has no such " + asked.object
	case KindExists:
		text = "Modal already has a " + asked.object + " of that name"
	case KindConflict:
		text = "Modal says that it cannot " + asked.verb + " at present"
	case KindInvalid:
		text = "Modal says that the request to " + asked.verb + " is invalid"
	case KindThrottled:
		text = "Modal is too busy to " + asked.verb
		if e.RetryAfter > 0 {
			text = fmt.Sprintf("Modal asks to wait %s before it can %s", duration.Format(e.RetryAfter), asked.verb)
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

// request describes a call in words: Modal is asked to do verb, and object is the thing that may be missing.
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

// Said returns Modal's own text from the *Error in err's chain, for a message that names the failed action
// itself. For any other error it returns the whole text.
func Said(err error) string {
	var failure *Error
	if errors.As(err, &failure) {
		return cmp.Or(failure.Message, "it gave no reason")
	}
	return err.Error()
}

// Unwrap returns [context.Canceled] or [context.DeadlineExceeded] if one of them ended the call, and
// otherwise nil. gRPC's own errors do not leave this package.
func (e *Error) Unwrap() error { return e.cause }

// MayBeDone reports whether Modal may have done the work of a failed call. After a bare HTTP answer the work
// may be done, because a gateway can give its own answer after Modal did the work.
func MayBeDone(err error) bool {
	var failure *Error
	if !errors.As(err, &failure) {
		return false
	}
	return failure.Tried || failure.HTTPStatus != 0 || failure.Kind == KindUnavailable || failure.Kind == KindThrottled
}

// BareHTTP reports whether the *Error in err's chain is a bare HTTP answer: a proxy or gateway answered the
// call, and it is unknown whether Modal received it.
func BareHTTP(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.HTTPStatus != 0
}

// AsUnavailable changes the kind of a bare HTTP answer to KindUnavailable and returns any other error
// unchanged. Callers use it if only Modal's own answer may count.
func AsUnavailable(err error) error {
	var failure *Error
	if !errors.As(err, &failure) || failure.HTTPStatus == 0 {
		return err
	}
	unavailable := *failure
	unavailable.Kind = KindUnavailable
	return &unavailable
}

// KindOf returns the kind of the *Error in err's chain. Without an *Error it returns KindNone.
func KindOf(err error) Kind {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Kind
	}
	return KindNone
}

// newError converts the error of an attempt. A gRPC code is Modal's only if it came over gRPC. The library
// grpc-go also invents codes: for an HTTP status (403 becomes PERMISSION_DENIED), for a reset stream, and for
// its own limits.
func (a *attempts) newError(err error, overGRPC bool) *Error {
	answer := status.Convert(err)
	failure := &Error{Kind: KindUnavailable, RPC: a.rpc}
	httpStatus, bare := bareStatus(answer.Message())
	switch kind, known := kindsByCode[answer.Code()]; {
	case strings.HasPrefix(answer.Message(), tooLarge):
		failure.Message = fmt.Sprintf("the answer is larger than %d MiB, which is larger than a real answer can be", a.limit>>20)
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
		text = fmt.Sprintf("no answer from server_url %s: %s", a.server, strings.TrimSuffix(grpcWords.Replace(text), `"`))
	}
	failure.Message = Redact(text, a.secrets...)
	return failure
}

// grpcWords removes or replaces the parts of grpc-go's errors that do not help an operator.
var grpcWords = strings.NewReplacer(`connection error: desc = "`, "", "transport: ", "",
	"name resolver error: produced zero addresses", "its host name has no address")

// grpc-go v1.85.0 reports an answer that is not gRPC, or too large, with these texts (internal/transport,
// http2_client.go and client_stream.go).
const (
	bareAnswer = "unexpected HTTP status code received from server: "
	// unknownMethod is the report of grpc-go about a method that a grpclib server does not have: HTTP 200
	// without content type and body. Modal's own mock is a grpclib server.
	unknownMethod = bareAnswer + "200 (OK); malformed header: missing HTTP content-type"
	noData        = "\ndata: \"\""
	// tooLarge reports an answer larger than the limit of its call (rpc_util.go).
	tooLarge = "grpc: received message larger than max"
)

// bareStatus returns the HTTP status from grpc-go's report of an answer that is not gRPC.
func bareStatus(report string) (httpStatus int, bare bool) {
	rest, bare := strings.CutPrefix(report, bareAnswer)
	number, _, _ := strings.Cut(rest, " ")
	httpStatus, err := strconv.Atoi(number)
	return httpStatus, bare && err == nil
}

// badAnswer returns the error for an answer that does not fit the request.
func (c *Client) badAnswer(rpc, flaw string) *Error {
	return &Error{Kind: KindUnavailable, RPC: rpc, Message: "the answer of " + c.host + " cannot be trusted: " + flaw}
}
