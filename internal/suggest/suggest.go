// SPDX-License-Identifier: MPL-2.0

// Package suggest finds the known name that a user probably meant when they wrote another name.
package suggest

import "strings"

// maxLength limits the length of the names that are compared.
const maxLength = 64

// Match selects which known names DidYouMean suggests.
type Match int

const (
	// Spelling suggests one name of similar spelling. The user could have found that name by trying. Use it for names that
	// the user may not list.
	Spelling Match = iota
	// SpellingOrPart suggests one name of similar spelling, or else up to three names that contain the user's name or that
	// the user's name contains. Use it for names of lower-case letters and _, which users also write in upper case or with -.
	SpellingOrPart
)

// DidYouMean returns a question for a user who wrote an unknown name, "" without a suggestion.
func DidYouMean(wanted string, known []string, match Match) string {
	if len(wanted) > maxLength {
		return ""
	}
	if match == SpellingOrPart {
		wanted = strings.ToLower(strings.ReplaceAll(wanted, "-", "_"))
	}
	var meant []string
	if name := similar(wanted, known); name != "" {
		meant = []string{name}
	} else if match == SpellingOrPart {
		meant = overlapping(wanted, known)
	}
	if len(meant) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(meant, " or ") + "?"
}

// similar returns the name with the fewest edits, or else a name with the same letters in another order. It returns ""
// if no name is similar.
func similar(wanted string, known []string) string {
	if name := Nearest(wanted, known, max(1, min(2, len(wanted)/3))); name != "" {
		return name
	}
	for _, name := range known {
		if haveSameLetters(wanted, name) {
			return name
		}
	}
	return ""
}

// overlapping returns up to three names that contain the wanted name or that it contains. Very short parts do not count.
func overlapping(wanted string, known []string) (names []string) {
	for _, name := range known {
		if (len(wanted) >= 3 && strings.Contains(name, wanted)) || (len(name) >= 4 && strings.Contains(wanted, name)) {
			names = append(names, name)
		}
	}
	return names[:min(len(names), 3)]
}

func haveSameLetters(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	var count [256]int
	for i := range len(a) {
		count[a[i]]++
		count[b[i]]--
	}
	return count == [256]int{}
}

// Nearest returns the known name with the fewest edits from the wanted name. It returns "" if every known
// name needs more than most edits. An edit adds, removes or replaces a byte. Among equally near names, the
// first one is returned.
func Nearest(wanted string, known []string, most int) string {
	nearest := ""
	for _, name := range known {
		if edits := Edits(wanted, name, most); edits <= most {
			nearest, most = name, edits-1
		}
	}
	return nearest
}

// Edits counts the edits between two names. As soon as there are more than most edits, it stops and returns a
// number above most. A comparison therefore takes only a few steps for each byte: a mount can have ten
// thousand names.
func Edits(a, b string, most int) int {
	if len(a) > maxLength || len(b) > maxLength || max(len(a)-len(b), len(b)-len(a)) > most {
		return most + 1
	}
	a, b = withoutCommonEnds(a, b)
	var rows [2][maxLength + 1]int // row i contains the edits between a[:i] and each b[:j]
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		above, row := &rows[(i-1)%2], &rows[i%2]
		// Only the columns from i-most to i+most can have at most that many edits.
		first, last := max(1, i-most), min(len(b), i+most)
		row[first-1] = most + 1
		if first == 1 {
			row[0] = i
		}
		least := row[first-1]
		for j := first; j <= last; j++ {
			edits := above[j-1]
			if a[i-1] != b[j-1] {
				edits++
			}
			edits = min(edits, row[j-1]+1)
			if j < i+most {
				edits = min(edits, above[j]+1)
			}
			row[j] = edits
			least = min(least, edits)
		}
		if least > most {
			return most + 1
		}
	}
	return rows[len(a)%2][len(b)]
}

// withoutCommonEnds removes the common beginning and the common end of two names.
func withoutCommonEnds(a, b string) (restOfA, restOfB string) {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}
