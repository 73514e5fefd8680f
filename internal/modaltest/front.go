// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"sync"
	"testing"
)

// Front is a proxy in front of a server. It forwards each call or answers it with a bare HTTP status, which
// is an answer without gRPC, as proxies and gateways give. It is safe for concurrent use.
type Front struct {
	url   string
	proxy *httputil.ReverseProxy

	mu       sync.Mutex // guards the fields below
	answer   *BareAnswer
	answered int
}

// BareAnswer is an answer that a Front gives instead of the server.
type BareAnswer struct {
	Status        int      // an HTTP status, for example 401
	NoContentType bool     // send neither content type nor body; false sends an HTML page
	AfterWork     bool     // forward the call first: the server does the work, and its answer is lost
	Methods       []string // answer only these RPCs, for example "ServiceUserCreate"; empty means all
}

// StartFront runs a proxy in front of the server until the test ends. At first it forwards every call. It
// panics if the server uses TLS, because the proxy could not read the calls.
func StartFront(tb testing.TB, s *Server) *Front {
	tb.Helper()
	if s.tls != nil {
		panic("modaltest: a front needs a server without TLS")
	}
	target, err := url.Parse(s.URL())
	if err != nil {
		tb.Fatalf("read the server's URL: %v", err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for the front: %v", err)
	}
	http2 := new(http.Protocols)
	http2.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: http2}
	f := &Front{url: "http://" + listener.Addr().String(), proxy: &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
	}}
	server := &http.Server{Protocols: http2, Handler: f} //nolint:gosec // a test's server needs no timeouts
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		_ = server.Close()
		transport.CloseIdleConnections()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("serve the front: %v", err)
		}
	})
	return f
}

// URL returns the front's address in the form that Modal's clients accept.
func (f *Front) URL() string { return f.url }

// Answer makes the front answer calls instead of the server until PassOn. It panics if an RPC does not exist
// or the status is invalid.
func (f *Front) Answer(a BareAnswer) {
	for _, method := range a.Methods {
		mustExist(method)
	}
	if a.Status < 200 || a.Status > 999 {
		panic("modaltest: a bare answer needs an HTTP status")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = &a
}

// PassOn makes the front forward every call again.
func (f *Front) PassOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = nil
}

// Answered returns the number of calls that the front answered instead of the server.
func (f *Front) Answered() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answered
}

// ServeHTTP forwards a call or answers it.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := f.next(path.Base(r.URL.Path))
	if answer == nil {
		f.proxy.ServeHTTP(w, r)
		return
	}
	if answer.AfterWork {
		// The server must do the work even if the client goes away while it waits.
		f.proxy.ServeHTTP(discardResponse{http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
	}
	if answer.NoContentType {
		w.Header()["Content-Type"] = nil
		w.WriteHeader(answer.Status)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(answer.Status)
	_, _ = io.WriteString(w, "<html>This page is the proxy's.</html>")
}

// next returns the front's own answer to a call, or nil if the front forwards the call.
func (f *Front) next(method string) *BareAnswer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answer == nil || len(f.answer.Methods) > 0 && !slices.Contains(f.answer.Methods, method) {
		return nil
	}
	f.answered++
	return f.answer
}

// discardResponse is a response writer that drops the server's answer.
type discardResponse struct{ header http.Header }

func (l discardResponse) Header() http.Header         { return l.header }
func (l discardResponse) Write(p []byte) (int, error) { return len(p), nil }
func (l discardResponse) WriteHeader(int)             {}
