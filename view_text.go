// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"
)

// maxBrief is how long a text may be in a list, whose columns are as wide as the longest.
const maxBrief = 40

// brief is the gist of an error, for a list: what Modal did, where the text says it, in a few whole words.
// The read has the text.
func brief(text string) string {
	if at := strings.Index(text, "Modal "); at > 0 {
		text = text[at:]
	}
	if len(text) <= maxBrief {
		return text
	}
	const more = "…"
	cut := strings.LastIndexAny(text[:maxBrief-len(more)+1], " ,;:")
	if cut <= 0 {
		return "see the read"
	}
	return strings.TrimRight(text[:cut], " ,;:") + more
}

// numbered is a list as one text on one line, so that a terminal shows no line of it as a field.
func numbered(items []string) string {
	parts := make([]string, 0, len(items))
	for i, item := range items {
		parts = append(parts, fmt.Sprintf("%d. %s", i+1, item))
	}
	return strings.Join(parts, "; ")
}
