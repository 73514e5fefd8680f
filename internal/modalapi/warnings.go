// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"fmt"
	"net/url"
	"sync"

	"google.golang.org/grpc/metadata"
)

const (
	maxRemembered = 256
	// maxWarnings limits the forwarded warnings of an answer. The rest is only counted.
	maxWarnings = 5
)

// warnings passes the warnings that Modal attaches to its answers to the engine, each text once, as Modal's
// own clients do (Modal's Go SDK v0.11.1, server_warnings.go).
type warnings struct {
	warn func(string)
	mu   sync.Mutex
	seen map[string]bool
}

func (w *warnings) pass(trailer metadata.MD, secrets []string) {
	if w.warn == nil {
		return
	}
	received := trailer.Get("x-modal-warning")
	for _, encoded := range received[:min(len(received), maxWarnings)] {
		if len(encoded) > maxRead {
			encoded = encoded[:maxRead]
		}
		text, err := url.PathUnescape(encoded)
		if err != nil {
			text = encoded
		}
		w.passNew(Redact(text, secrets...))
	}
	if more := len(received) - maxWarnings; more > 0 {
		w.passNew(fmt.Sprintf("Modal attached %d more warnings to the same answer; they are not shown", more))
	}
}

func (w *warnings) passNew(text string) {
	if w.isNew(text) {
		w.warn(text)
	}
}

// isNew reports whether the text was not seen before. If the set is full, isNew clears it to bound its
// memory: a warning may then repeat, but none is lost.
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
