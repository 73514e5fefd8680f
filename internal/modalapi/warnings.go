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
	// maxWarnings is how many warnings of one answer are passed on; the rest is counted.
	maxWarnings = 5
)

// warnings hands on what Modal attaches to its answers, each text once, as Modal's own clients do
// (Modal's Go SDK v0.11.1, server_warnings.go).
type warnings struct {
	warn func(string)
	mu   sync.Mutex
	seen map[string]bool
}

func (w *warnings) pass(trailer metadata.MD, secrets []string) {
	if w.warn == nil {
		return
	}
	told := trailer.Get("x-modal-warning")
	for _, encoded := range told[:min(len(told), maxWarnings)] {
		if len(encoded) > maxRead {
			encoded = encoded[:maxRead]
		}
		text, err := url.PathUnescape(encoded)
		if err != nil {
			text = encoded
		}
		w.passNew(Redact(text, secrets...))
	}
	if more := len(told) - maxWarnings; more > 0 {
		w.passNew(fmt.Sprintf("and %d more warnings with one answer, left out", more))
	}
}

func (w *warnings) passNew(text string) {
	if w.isNew(text) {
		w.warn(text)
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
