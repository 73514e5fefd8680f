// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"cmp"
	"context"
	"io"
	"net/http"
)

// ServeHTTP answers a call over gRPC, or without gRPC if a fault says so.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w}
	s.grpc.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), answerKey{}, a)))
	if a.fault != nil {
		a.fault.answer(w)
	}
}

// answer is gRPC's answer to a call. It is dropped if a fault answers without gRPC.
type answer struct {
	http.ResponseWriter
	fault *Fault // nil: gRPC answers
}

// answerKey is the key of a call's answer in its context.
type answerKey struct{}

// WriteHeader sends the HTTP status, unless a fault answers.
func (a *answer) WriteHeader(status int) {
	if a.fault == nil {
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write sends a part of the answer, unless a fault answers.
func (a *answer) Write(p []byte) (int, error) {
	if a.fault != nil {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// Flush sends everything that was written, unless a fault answers.
func (a *answer) Flush() {
	if a.fault == nil {
		a.ResponseWriter.(http.Flusher).Flush() //nolint:forcetypeassert // each writer of net/http is one
	}
}

// withoutGRPC reports whether the fault answers without gRPC.
func (f *Fault) withoutGRPC() bool { return f.HTTPStatus != 0 || f.NoContentType }

// answer sends the HTTP status, and a page unless NoContentType is set.
func (f *Fault) answer(w http.ResponseWriter) {
	clear(w.Header()) // of gRPC's headers
	if f.NoContentType {
		w.Header()["Content-Type"] = nil // net/http adds no type of its own
		w.WriteHeader(cmp.Or(f.HTTPStatus, http.StatusOK))
		return
	}
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(f.HTTPStatus)
	_, _ = io.WriteString(w, "<html>This page is the proxy's.</html>")
}
