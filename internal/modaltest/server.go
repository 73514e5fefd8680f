// SPDX-License-Identifier: MPL-2.0

// Package modaltest emulates Modal's control plane. It speaks the real protocol on a real listener, keeps the
// state of tokens, and injects faults on request. It shares no code with the engine's own client, so that the
// two cannot contain the same error.
//
// The facts come from Modal's Go SDK v0.11.1, from Modal's Python client 1.6.4 and, as far as they are about Modal's mock
// servicer (test/conftest.py), from the sources of 1.5.4. "Assumed" marks a behaviour of Modal that cannot be seen from
// outside.
package modaltest

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// Server is an emulated control plane. It is safe for concurrent use.
type Server struct {
	now    func() time.Time
	tls    *authority   // nil: plain text
	grpc   *grpc.Server // decodes calls and encodes their answers
	http   *http.Server // speaks HTTP/2, so that a fault can answer without gRPC
	jwtKey []byte

	expiryDeletes   bool
	flowLifetime    time.Duration
	flowAnswersOnce bool
	flowPage        string // base URL of the token flows' pages; empty: this server's own URL

	mu           sync.Mutex // guards all fields below and the workspaces
	address      string
	workspaces   []*Workspace
	tokens       map[string]*token // by ID, without tokens that are rejected for good
	counts       map[string]int    // how many IDs were derived for each owner or name
	flows        []*flow
	secrets      []string
	calls        []*Call
	audit        []auditEntry // oldest first
	faults       map[string][]*Fault
	rejectNewFor time.Duration
	outage       bool
	onCall       func(method string)
	onAnswer     func(Call)

	keepDeletedFor time.Duration
	listLag        time.Duration
	infoLag        time.Duration
	deleted        []deletedServiceUser // service users that a lagging list may still show, oldest first
}

// Option configures a Server.
type Option func(*Server)

// WithTLS makes the server use TLS with a certificate of its own authority, valid for 127.0.0.1, ::1 and
// localhost. See [Server.CACert].
func WithTLS() Option {
	return func(s *Server) { s.tls = newAuthority() }
}

// WithClock replaces time.Now for all times and expiries of the server.
func WithClock(now func() time.Time) Option {
	return func(s *Server) { s.now = now }
}

// WithExpiryDeletes deletes service users and frees their names when they expire, as Modal's command line
// says (Python client 1.6.2, cli/workspace.py).
//
// Assumed: the option does not change members' tokens. An expired member token is rejected, stays listed and
// can still be deleted.
func WithExpiryDeletes() Option {
	return func(s *Server) { s.expiryDeletes = true }
}

// New returns a server. It answers calls after Serve is called.
func New(opts ...Option) *Server {
	s := &Server{
		now:    time.Now, //nolint:forbidigo // the default of the injected clock
		jwtKey: []byte(randomID("")),
		tokens: map[string]*token{},
		counts: map[string]int{},
		faults: map[string][]*Fault{},

		flowLifetime: flowLifetime,
	}
	for _, opt := range opts {
		opt(s)
	}
	s.grpc = grpc.NewServer(
		grpc.UnaryInterceptor(s.interceptUnary),
		grpc.StreamInterceptor(s.interceptStream),
		// Unknown RPCs are recorded and authenticated like all others.
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.WaitForHandlers(true),
	)
	s.grpc.RegisterService(&serviceDesc, &controlPlane{server: s})
	s.http = &http.Server{ //nolint:gosec // a test's server needs no timeouts
		Handler: s, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0),
	}
	if s.tls != nil {
		s.http.TLSConfig = s.tls.serverConfig()
		s.http.Protocols.SetHTTP2(true)
	} else {
		s.http.Protocols.SetHTTP1(true) // the answer to HTTP/1 names the mistake
		s.http.Protocols.SetUnencryptedHTTP2(true)
	}
	return s
}

// Start runs a server on a free port of 127.0.0.1 until the test ends.
func Start(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for the emulator: %v", err)
	}
	s := New(opts...)
	s.setAddress(listener)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	tb.Cleanup(func() {
		s.Close()
		if serveErr := <-served; serveErr != nil {
			tb.Errorf("serve the emulator: %v", serveErr)
		}
	})
	return s
}

// Serve answers calls on listener until Close and then returns nil. URL returns the listener's address, so
// Modal's clients must accept that address: see [At].
//
// The listener may be of any kind. In a bubble of testing/synctest, use a bufconn of
// google.golang.org/grpc/test/bufconn, and make, serve and close the server inside the bubble.
func (s *Server) Serve(listener net.Listener) error {
	s.setAddress(listener)
	serve := s.http.Serve
	if s.tls != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close stops the server at once. Calls in flight end as if the client had disconnected.
func (s *Server) Close() {
	_ = s.http.Close()
	s.grpc.Stop() // waits for the handlers
}

// At returns l with another address, for example 127.0.0.1:9900 for a listener in memory.
func At(l net.Listener, address string) net.Listener { return listenerAt{l, address} }

type listenerAt struct {
	net.Listener
	address string
}

func (l listenerAt) Addr() net.Addr { return l }

// Network and String make the listener its own address.
func (l listenerAt) Network() string { return l.Listener.Addr().Network() }
func (l listenerAt) String() string  { return l.address }

func (s *Server) setAddress(listener net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = listener.Addr().String()
}

// URL returns the server's address in the form that Modal's clients accept, without a trailing slash, for
// example http://127.0.0.1:9900. It panics before Serve.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		panic("modaltest: URL was called before Serve")
	}
	if s.tls != nil {
		return "https://" + s.address
	}
	return "http://" + s.address
}

// CACert returns the certificate of the authority in PEM. It panics without [WithTLS].
func (s *Server) CACert() string {
	if s.tls == nil {
		panic("modaltest: CACert was called on a server without WithTLS")
	}
	return s.tls.certPEM
}

// Secrets returns the secrets of all tokens and token flows ever created, including deleted tokens. Tests
// search logs and errors for them.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.secrets)
}
