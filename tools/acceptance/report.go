// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// anID matches Modal's IDs and secrets.
var anID = regexp.MustCompile(`\b[a-z]{2}-[A-Za-z0-9_-]{8,}`)

// anAddress matches e-mail addresses.
var anAddress = regexp.MustCompile(`[^\s<>"'()]+@[^\s<>"'()]+`)

// report writes every row with its observation, without private data.
func (t *trial) report(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "# Modal's answers\n\nThe rows of docs/modal.md, checked with the token of a %s.\n",
		strings.ReplaceAll(string(t.who.Kind), "_", " "))
	for _, table := range []struct {
		title string
		rows  []row
	}{{"Assumed", assumed}, {"Not known", notKnown}} {
		fmt.Fprintf(&text, "\n## %s\n\n| Row | Claim | Outcome | Observation |\n| --- | --- | --- | --- |\n", table.title)
		for _, row := range table.rows {
			found := t.finding(row.id)
			fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", row.id, row.claim, found.outcome, t.clean(found.saw))
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func (t *trial) finding(id string) finding {
	if found, settled := t.findings[id]; settled {
		return found
	}
	if why := untried[id]; why != "" {
		return finding{notTried, why}
	}
	return finding{notTried, "this run did not reach this row"}
}

// clean removes everything that identifies the account or breaks the table.
func (t *trial) clean(text string) string {
	text = anID.ReplaceAllString(modalapi.Redact(text, t.own.Secret), "…")
	text = anAddress.ReplaceAllString(text, "…")
	names := append([]string{t.prefix, t.who.WorkspaceName, t.who.Name, t.who.TokenName}, t.names...)
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	for _, name := range names {
		if name != "" {
			text = asWords(name).ReplaceAllLiteralString(text, "…")
		}
	}
	return strings.NewReplacer("|", "/", "\n", " ").Replace(text)
}

var (
	wordBegins = regexp.MustCompile(`^\w`)
	wordEnds   = regexp.MustCompile(`\w$`)
)

// asWords matches a name that is not part of a longer word. Regexp's \b knows only ASCII words, so a name that
// begins or ends with another letter is matched everywhere.
func asWords(name string) *regexp.Regexp {
	pattern := regexp.QuoteMeta(name)
	if wordBegins.MatchString(name) {
		pattern = `\b` + pattern
	}
	if wordEnds.MatchString(name) {
		pattern += `\b`
	}
	return regexp.MustCompile(pattern)
}

// judgement returns an error if a row failed.
func (t *trial) judgement() error {
	var bad []string
	for _, row := range slices.Concat(assumed, notKnown) {
		if t.findings[row.id].outcome == failed {
			bad = append(bad, row.id)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("these rows of docs/modal.md are wrong: %s", strings.Join(bad, ", "))
}
