// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"fmt"
	"os"
	"strings"

	"vault-plugin-secrets-modal/e2e/lab"
)

// screen prints what happens. It cuts token secrets to their first six characters.
type screen struct {
	file       *os.File
	bold, dull string
	plain      string
	titles     int
}

// newScreen uses colours only on a terminal, and never if NO_COLOR is set.
func newScreen(file *os.File) *screen {
	s := &screen{file: file}
	info, err := file.Stat()
	if err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" {
		s.bold, s.dull, s.plain = "\x1b[1m", "\x1b[2m", "\x1b[0m"
	}
	return s
}

// title starts a step.
func (s *screen) title(text string) {
	s.titles++
	fmt.Fprintf(s.file, "\n%s%d. %s%s\n", s.bold, s.titles, text, s.plain)
}

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

// output prints the output of a command.
func (s *screen) output(text string) {
	if text = strings.TrimRight(text, "\n"); text != "" {
		fmt.Fprintln(s.file, lab.Mask(text))
	}
}

// quote puts a word in quotes if a shell needs them.
func quote(word string) string {
	if strings.ContainsAny(word, " \n\"{}*|$") {
		return "'" + word + "'"
	}
	return word
}
