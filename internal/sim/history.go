// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"strings"
	"time"
)

// note writes the history down, line by line as it happens.
func (l *Life) note(format string, args ...any) {
	at := time.Since(FirstDay)
	line := fmt.Sprintf("%4dd %02d:%02d:%012.9f ", at/day, at%day/time.Hour, at%time.Hour/time.Minute, (at%time.Minute).Seconds()) + fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = append(l.history, line)
	l.rt.Logf("%s", line)
}

// ofRole tells whose an entry of the ledger is, or a token.
func ofRole(role string) string {
	if role == "" {
		return "of no role"
	}
	return "of role " + role
}

func (l *Life) tail(lines int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.history[max(0, len(l.history)-lines):], "\n")
}

// broken notes a promise that was broken, from wherever it was seen. The first one counts.
func (l *Life) broken(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.note("BROKEN: %s", text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrong == "" {
		l.wrong = text
	}
}

// fail ends the life.
func (l *Life) fail(format string, args ...any) {
	l.broken(format, args...)
	l.rt.Fatalf("%s", l.wrong)
}

// check holds the mount to its promises, here and now.
func (l *Life) check() {
	l.oracle.check()
	l.mu.Lock()
	wrong := l.wrong
	l.mu.Unlock()
	if wrong != "" {
		l.rt.Fatalf("%s", wrong)
	}
}
