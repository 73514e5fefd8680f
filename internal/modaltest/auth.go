// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strconv"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// These are headers of Modal's clients (Go SDK, client.go).
const (
	headerClientType    = "x-modal-client-type"
	headerClientVersion = "x-modal-client-version"
	headerTokenID       = "x-modal-token-id"
	headerTokenSecret   = "x-modal-token-secret"
)

// Assumed: the server checks the format before it looks up the token. A real server was seen to call
// a swapped ID and secret "malformed"; its exact rule is not known.
var (
	tokenIDShape     = regexp.MustCompile(`^ak-[A-Za-z0-9]{22}$`)
	tokenSecretShape = regexp.MustCompile(`^as-[A-Za-z0-9]{22}$`)
)

func (s *Server) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return s.answer(ctx, info.FullMethod, req, func(ctx context.Context) (any, error) {
		return handler(ctx, req)
	})
}

func (s *Server) interceptStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	_, err := s.answer(stream.Context(), info.FullMethod, nil, func(context.Context) (any, error) {
		return nil, handler(srv, stream)
	})
	return err
}

// answer handles every call. It records the call, runs the OnCall hook, applies a fault if there is one,
// authenticates the caller and runs the handler.
func (s *Server) answer(ctx context.Context, fullMethod string, req any, handle func(context.Context) (any, error)) (any, error) {
	call, answered := s.record(ctx, path.Base(fullMethod), targetOf(req))
	s.runOnCall(call.Method)
	work := func() (any, error) {
		if slices.Contains(rpcsWithoutToken, call.Method) {
			if err := checkClient(ctx); err != nil {
				return nil, err
			}
			return handle(ctx)
		}
		caller, err := s.authenticate(ctx)
		if err != nil {
			return nil, err
		}
		resp, err := handle(context.WithValue(ctx, callerKey{}, caller))
		if err == nil {
			s.auditCall(caller, call.Method)
		}
		return resp, err
	}
	if fault := s.nextFault(call); fault != nil {
		handled := work
		work = func() (any, error) { return fault.wrap(ctx, handled) }
	}
	resp, err := work()
	answered(status.Code(err))
	if err != nil {
		return nil, err
	}
	return resp, nil
}

type callerKey struct{}

// callerOf returns a copy of the caller's token.
func callerOf(ctx context.Context) token {
	caller, ok := ctx.Value(callerKey{}).(token)
	if !ok {
		panic("modaltest: a call reached its handler without authentication")
	}
	return caller
}

// authenticate checks the headers as Modal's mock servicer does (Python client, test/conftest.py
// recv_request). It checks the token in the way that was seen on the real server.
func (s *Server) authenticate(ctx context.Context) (token, error) {
	if err := checkClient(ctx); err != nil {
		return token{}, err
	}
	header, _ := metadata.FromIncomingContext(ctx)
	id, secret := first(header, headerTokenID), first(header, headerTokenSecret)
	switch {
	case id == "" || secret == "":
		// Assumed: the text. The code comes from the mock servicer.
		return token{}, status.Error(codes.Unauthenticated, "Token missing")
	case !tokenIDShape.MatchString(id):
		return token{}, status.Error(codes.Unauthenticated, "Token ID is malformed")
	case !tokenSecretShape.MatchString(secret):
		return token{}, status.Error(codes.Unauthenticated, "Token secret is malformed")
	}
	return s.use(id, secret)
}

// use looks up the token and sets the time of its last use.
func (s *Server) use(id, secret string) (token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.lookUp(id, secret)
	if err != nil {
		return token{}, err
	}
	t.lastUsed = s.now()
	return *t, nil
}

// lookUp returns the token if the server accepts it now. The caller must lock s.mu.
func (s *Server) lookUp(id, secret string) (*token, error) {
	s.expire()
	t, now := s.tokens[id], s.now()
	switch {
	case t == nil || t.disabled || now.Before(t.usableFrom) || !t.rejectedFrom.IsZero() && !now.Before(t.rejectedFrom):
		// Assumed: a deleted, disabled or too new token has the answer of an unknown token.
		return nil, status.Error(codes.Unauthenticated, "Token not found")
	case t.Secret != secret:
		// Assumed: the text. The code comes from the mock servicer.
		return nil, status.Error(codes.Unauthenticated, "Token secret is invalid")
	case t.expired(now):
		// Assumed: code and text.
		return nil, status.Error(codes.Unauthenticated, "Token has expired")
	}
	return t, nil
}

func checkClient(ctx context.Context) error {
	header, _ := metadata.FromIncomingContext(ctx)
	if first(header, headerClientVersion) == "" {
		return status.Errorf(codes.FailedPrecondition, "Missing %s header", headerClientVersion)
	}
	value := first(header, headerClientType)
	if value == "" {
		return status.Errorf(codes.FailedPrecondition, "Missing %s header", headerClientType)
	}
	number, err := strconv.ParseInt(value, 10, 32)
	_, known := pb.ClientType_name[int32(number)]
	if err != nil || !known || number == int64(pb.ClientType_CLIENT_TYPE_UNSPECIFIED) {
		return status.Errorf(codes.FailedPrecondition, "Unknown %s header", headerClientType)
	}
	return nil
}

// first returns a header's first value. Modal's Go SDK sends each header twice with AuthTokenGet.
func first(header metadata.MD, key string) string {
	if values := header.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}
