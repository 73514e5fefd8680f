// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"vault-plugin-secrets-modal/e2e/lab"
	"vault-plugin-secrets-modal/internal/duration"
)

// screen prints what happens. It cuts token secrets to their first six characters. On a terminal it pauses so
// that a person can read.
type screen struct {
	file       *os.File
	terminal   bool
	bold, dull string
	plain      string
	titles     int
}

// newScreen uses colours only on a terminal, and never if NO_COLOR is set.
func newScreen(file *os.File) *screen {
	s := &screen{file: file}
	info, err := file.Stat()
	s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	if s.terminal && os.Getenv("NO_COLOR") == "" {
		s.bold, s.dull, s.plain = "\x1b[1m", "\x1b[2m", "\x1b[0m"
	}
	return s
}

// title starts a step.
func (s *screen) title(text string) {
	s.titles++
	s.heading(fmt.Sprintf("%d. %s", s.titles, text))
}

// heading prints a line that stands out.
func (s *screen) heading(text string) { fmt.Fprintf(s.file, "\n%s%s%s\n", s.bold, text, s.plain) }

// note prints a remark about a step.
func (s *screen) note(format string, args ...any) {
	fmt.Fprintf(s.file, "%s# %s%s\n", s.dull, lab.Mask(fmt.Sprintf(format, args...)), s.plain)
}

// command prints a command as a person would type it, with its standard input.
func (s *screen) command(stdin string, args ...string) {
	var line strings.Builder
	if stdin != "" {
		line.WriteString("printf %s " + quote(stdin) + " | ")
	}
	for i, arg := range args {
		if i > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(quote(arg))
	}
	fmt.Fprintf(s.file, "%s$ %s%s\n", s.bold, lab.Mask(line.String()), s.plain)
}

// output prints the output of a command and gives a person time to read it.
func (s *screen) output(ctx context.Context, text string) error {
	text = strings.TrimRight(text, "\n")
	if text != "" {
		fmt.Fprintln(s.file, lab.Mask(text))
	}
	if !s.terminal {
		return nil
	}
	return pause(ctx, readingTime(text))
}

// readingTime returns a second and a fifth of a second for each line, at most five seconds.
func readingTime(text string) time.Duration {
	return min(time.Second+time.Duration(strings.Count(text, "\n")+1)*time.Second/5, 5*time.Second)
}

func pause(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(long):
		return nil
	}
}

// wait calls check until it succeeds, and counts down to the time at which that is likely: each second in one line
// of a terminal, every ten seconds in a pipe.
func (s *screen) wait(ctx context.Context, what string, likely time.Time, check func() error) error {
	every := 10 * time.Second
	if s.terminal {
		every = time.Second
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			s.remaining(what, time.Until(likely))
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	}()
	err := lab.Until(ctx, what, check)
	close(stop)
	<-stopped
	if s.terminal {
		fmt.Fprint(s.file, "\r\x1b[K")
	}
	return err
}

// remaining prints one line of a countdown.
func (s *screen) remaining(what string, left time.Duration) {
	text := "any moment now"
	if left > time.Second {
		text = "about " + duration.Format(left)
	}
	text = fmt.Sprintf("%s# waiting for %s: %s%s", s.dull, what, text, s.plain)
	if s.terminal {
		fmt.Fprintf(s.file, "\r%s\x1b[K", text)
	} else {
		fmt.Fprintln(s.file, text)
	}
}

// quote puts a word in quotes if a shell needs them.
func quote(word string) string {
	if strings.ContainsAny(word, " \n\"{}*|$") {
		return "'" + word + "'"
	}
	return word
}
