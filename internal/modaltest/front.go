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

// Front is a proxy in front of a server. It passes each call on, or answers it with a bare HTTP status: an
// answer without gRPC, as proxies and gateways give it. It is safe for concurrent use.
type Front struct {
	url   string
	proxy *httputil.ReverseProxy

	mu       sync.Mutex // guards what follows
	answer   *BareAnswer
	answered int
}

// BareAnswer is an answer of a Front in the place of the server.
type BareAnswer struct {
	Status        int      // an HTTP status: 401 for example
	NoContentType bool     // send neither content type nor body; false sends a page in HTML
	AfterWork     bool     // pass the call on first: the server does the work, and its answer is lost
	Methods       []string // answer these RPCs, for example "ServiceUserCreate"; an empty list means all
}

// StartFront runs a proxy in front of the server until the test ends. At first it passes every call on.
// It panics when the server speaks TLS, which would hide the calls from it.
func StartFront(tb testing.TB, s *Server) *Front {
	tb.Helper()
	if s.tls != nil {
		panic("modaltest: a front needs a server without TLS")
	}
	behind, err := url.Parse(s.URL())
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
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(behind) },
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

// URL is the front's address as Modal's clients take it.
func (f *Front) URL() string { return f.url }

// Answer makes the front answer calls in the place of the server until PassOn. It panics when an RPC does
// not exist or the status is invalid.
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

// PassOn makes the front pass every call on again.
func (f *Front) PassOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = nil
}

// Answered is how many calls the front has answered in the place of the server.
func (f *Front) Answered() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answered
}

// ServeHTTP passes a call on or answers it.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := f.next(path.Base(r.URL.Path))
	if answer == nil {
		f.proxy.ServeHTTP(w, r)
		return
	}
	if answer.AfterWork {
		// The client may go away while it waits, and the server is to do the work all the same.
		f.proxy.ServeHTTP(lost{http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
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

// next returns the front's own answer to a call, or nil if the call is passed on.
func (f *Front) next(method string) *BareAnswer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answer == nil || len(f.answer.Methods) > 0 && !slices.Contains(f.answer.Methods, method) {
		return nil
	}
	f.answered++
	return f.answer
}

// lost takes the server's answer and gives it to nobody.
type lost struct{ header http.Header }

func (l lost) Header() http.Header         { return l.header }
func (l lost) Write(p []byte) (int, error) { return len(p), nil }
func (l lost) WriteHeader(int)             {}
