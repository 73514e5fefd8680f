// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"net/url"
	"sync"

	"google.golang.org/grpc/metadata"
)

const maxRemembered = 256

// warnings hands on what Modal attaches to its answers, each text once, as Modal's own clients do
// (Modal's Go SDK v0.11.1, server_warnings.go).
type warnings struct {
	warn func(string)
	mu   sync.Mutex
	seen map[string]bool
}

func (w *warnings) pass(trailer metadata.MD) {
	if w.warn == nil {
		return
	}
	for _, encoded := range trailer.Get("x-modal-warning") {
		text, err := url.PathUnescape(encoded)
		if err != nil {
			text = encoded
		}
		if text = Redact(text); w.isNew(text) {
			w.warn(text)
		}
	}
}

// isNew forgets everything rather than grow for ever: that costs a repeated warning, never a lost one.
func (w *warnings) isNew(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[text] {
		return false
	}
	if w.seen == nil || len(w.seen) >= maxRemembered {
		w.seen = map[string]bool{}
	}
	w.seen[text] = true
	return true
}
