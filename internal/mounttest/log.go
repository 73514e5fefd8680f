// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"bytes"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"
)

// EventsOf returns the metadata of all events of a type, the newest last.
func (m *Mount) EventsOf(kind string) (all []map[string]any) {
	m.T.Helper()
	m.Events.Lock()
	defer m.Events.Unlock()
	for _, event := range m.Events.Events {
		if string(event.Type) == kind {
			all = append(all, event.Event.GetMetadata().AsMap())
		}
	}
	return all
}

// LineWith returns the newest log line that contains a text.
func (m *Mount) LineWith(text string) string {
	m.T.Helper()
	lines := m.Lines()
	for i := range lines {
		if line := lines[len(lines)-1-i]; strings.Contains(line, text) {
			return line
		}
	}
	m.T.Fatalf("no log line contains %q", text)
	return ""
}

// LockedBuffer collects the log: the logger writes while tests read.
type LockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *LockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *LockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// Lines returns the lines of the log that are not empty.
func (m *Mount) Lines() []string {
	return strings.FieldsFunc(m.Logs.String(), func(r rune) bool { return r == '\n' })
}

// requireLinesNameTheMount expects the mount in each log line, because one process writes the lines of several
// mounts.
func (m *Mount) requireLinesNameTheMount() {
	for _, line := range m.Lines() {
		if startsALine := line[0] >= '0' && line[0] <= '9'; startsALine {
			require.Contains(m.T, line, " service_user_prefix=vault-2f9f1a7c-", "a line of the log does not name the mount")
		}
	}
}
