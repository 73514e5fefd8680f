// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// maxLines is how many tokens an answer tells one by one.
const maxLines = 10

// whatIsLeft tells of each token of a deleted role, in a line, what becomes of it and when.
func (e *Engine) whatIsLeft(ctx context.Context, name string, ended []string) (lines []string) {
	for _, id := range ended {
		lines = append(lines, fmt.Sprintf("token %s: ended, Modal refuses it", id))
	}
	entries, unreadable, err := e.Ledger(ctx)
	if err != nil {
		return append(lines, fmt.Sprintf("the role is gone, and the ledger cannot be read to say what is left of it (%s): vault list %srevocations", err, e.mount()))
	}
	left := entries[:0]
	for _, entry := range entries {
		if entry.Role == name {
			left = append(left, entry)
		}
	}
	if len(ended)+len(left) > maxLines {
		lines = []string{e.summary(len(ended), left)}
	} else {
		for _, entry := range left {
			lines = append(lines, e.fate(entry))
		}
	}
	if len(unreadable) > 0 {
		lines = append(lines, fmt.Sprintf("%d entries of the ledger cannot be read, and may be of this role: vault read %srevocations/%s says why",
			len(unreadable), e.mount(), unreadable[0]))
	}
	return lines
}

// fate is what becomes of a token, in a line.
func (e *Engine) fate(entry *Revocation) string {
	about, now := entry.about(), e.Now()
	switch {
	case entry.Method == methodManual:
		return fmt.Sprintf("%s: left to you, %s", about, entry.howToDelete())
	case entry.Forced:
		return fmt.Sprintf("%s: not ended yet, the engine goes on trying; vault read %srevocations/%s says what is in its way", about, e.mount(), entry.Key())
	case now.Before(entry.NotBefore):
		return fmt.Sprintf("%s: works until %s, then the engine ends it; at once with: vault write %srevocations/%s force=true",
			about, entry.NotBefore.Format(time.RFC3339), e.mount(), entry.Key())
	}
	return about + ": the engine ends it within a minute or so"
}

// about names a token of the ledger. Only those that were current have a version.
func (r *Revocation) about() string {
	switch {
	case r.Leased:
		return fmt.Sprintf("service user %s of a lease", r.Key())
	case r.Reason == reasonApproved:
		return fmt.Sprintf("token %s of an approval", r.Key())
	case r.Version == 0:
		return fmt.Sprintf("service user %s of a rotation that did not finish", r.Key())
	}
	return fmt.Sprintf("token %s (version %d)", r.Key(), r.Version)
}

// summary tells of many tokens at once.
func (e *Engine) summary(ended int, left []*Revocation) string {
	var manual, automatic int
	var last time.Time
	for _, entry := range left {
		if entry.Method == methodManual {
			manual++
			continue
		}
		automatic++
		last = later(last, entry.NotBefore)
	}
	var parts []string
	if ended > 0 {
		parts = append(parts, fmt.Sprintf("%d ended, Modal refuses them", ended))
	}
	if automatic > 0 {
		parts = append(parts, fmt.Sprintf("%d that the engine ends, the last from %s on", automatic, last.Format(time.RFC3339)))
	}
	if manual > 0 {
		parts = append(parts, fmt.Sprintf("%d left to you", manual))
	}
	return fmt.Sprintf("%d tokens of the role: %s; those that are left are in: vault list -detailed %srevocations",
		ended+len(left), strings.Join(parts, ", "), e.mount())
}
