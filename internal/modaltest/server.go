// SPDX-License-Identifier: MPL-2.0

// Package modaltest emulates Modal's control plane: the real protocol on a real
// listener, real token state, and faults on demand. It takes nothing from the
// engine's own client, so that the two cannot agree on the same mistake.
//
// Facts come from Modal's Go SDK v0.11.1 and Python clients 1.5.4 and 1.6.4; what Modal
// would do and nobody outside can see is marked "Assumed".
package modaltest

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Server is one emulated control plane. It is safe for concurrent use.
type Server struct {
	now    func() time.Time
	tls    *authority // nil: plain text
	grpc   *grpc.Server
	jwtKey []byte

	expiryDeletes   bool
	flowLifetime    time.Duration
	flowAnswersOnce bool
	flowPage        string // where URLs of token flows begin; empty: this server's own URL

	mu           sync.Mutex // guards everything below, workspaces included
	address      string
	workspaces   []*Workspace
	tokens       map[string]*token // by ID, without the refused ones
	counts       map[string]int    // how many IDs were derived for each owner or name
	flows        []*flow
	secrets      []string
	calls        []*Call
	faults       map[string][]*Fault
	refuseNewFor time.Duration
	outage       bool
	onCall       func(method string)

	keepDeletedFor time.Duration
	listLag        time.Duration
	infoLag        time.Duration
	deleted        []deletedServiceUser // what the list may still show, oldest first
}

// Option configures a Server.
type Option func(*Server)

// WithTLS makes the server speak TLS with a certificate of its own authority,
// valid for 127.0.0.1, ::1 and localhost. See [Server.CACert].
func WithTLS() Option {
	return func(s *Server) { s.tls = newAuthority() }
}

// WithClock replaces time.Now for everything the server dates or expires.
func WithClock(now func() time.Time) Option {
	return func(s *Server) { s.now = now }
}

// WithExpiryDeletes makes service users vanish when they expire, name and all, as Modal's command line
// says they do (Python client 1.6.2, cli/workspace.py). Assumed: members' tokens do not; refused when they
// expire, they stay to be listed and deleted, whatever the option.
func WithExpiryDeletes() Option {
	return func(s *Server) { s.expiryDeletes = true }
}

// New returns a server that answers once Serve is called.
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
	s.grpc = grpc.NewServer(s.grpcOptions()...)
	s.grpc.RegisterService(&serviceDesc, &controlPlane{server: s})
	return s
}

func (s *Server) grpcOptions() []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.UnaryInterceptor(s.interceptUnary),
		grpc.StreamInterceptor(s.interceptStream),
		// RPCs that the emulator does not know are recorded and authenticated like the rest.
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.WaitForHandlers(true),
		// Modal's clients ping each 30 s, streams or not (Go SDK, client.go); by
		// default grpc-go hangs up on that.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	transport := insecure.NewCredentials()
	if s.tls != nil {
		transport = credentials.NewTLS(s.tls.serverConfig())
	}
	return append(opts, grpc.Creds(unlabelled{transport}))
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

// Serve answers on listener until Close, and then returns nil. Any listener does: a bufconn of
// google.golang.org/grpc/test/bufconn works in a bubble of testing/synctest, where a server has to be
// made, served and closed inside. URL is of the listener's address, so give it one that Modal's clients
// read: see [At].
func (s *Server) Serve(listener net.Listener) error {
	s.setAddress(listener)
	err := s.grpc.Serve(listener)
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Close stops the server at once; calls in flight end as if the client had gone.
func (s *Server) Close() { s.grpc.Stop() }

// At returns l with another address, such as 127.0.0.1:9900 for a listener in memory.
func At(l net.Listener, address string) net.Listener { return located{l, address} }

type located struct {
	net.Listener
	address string
}

func (l located) Addr() net.Addr { return l }

// Network and String make it an address too.
func (l located) Network() string { return l.Listener.Addr().Network() }
func (l located) String() string  { return l.address }

func (s *Server) setAddress(listener net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address = listener.Addr().String()
}

// URL is the server's address as Modal's clients take it, without a trailing
// slash, such as http://127.0.0.1:9900. It panics before Serve.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.address == "" {
		panic("modaltest: URL asked for before Serve")
	}
	if s.tls != nil {
		return "https://" + s.address
	}
	return "http://" + s.address
}

// CACert is the PEM of the authority to trust. It panics without [WithTLS].
func (s *Server) CACert() string {
	if s.tls == nil {
		panic("modaltest: CACert asked for without WithTLS")
	}
	return s.tls.certPEM
}

// Secrets lists every secret of a token or token flow ever issued, deleted tokens
// included, to search logs and errors for.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.secrets)
}
