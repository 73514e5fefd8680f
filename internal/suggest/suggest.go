// SPDX-License-Identifier: MPL-2.0

// Package suggest finds the name that somebody meant who wrote another one.
package suggest

// maxLength bounds the names that are compared.
const maxLength = 64

// Nearest returns the known name that differs least from a wanted one, by at most so many edits: "" for none.
// An edit adds, removes or replaces a byte. The first of several equally near names counts.
func Nearest(wanted string, known []string, most int) string {
	nearest := ""
	for _, name := range known {
		if edits := Edits(wanted, name, most); edits <= most {
			nearest, most = name, edits-1
		}
	}
	return nearest
}

// Edits counts the edits between two names. It returns more than most as soon as there are more, so that a
// comparison takes a few steps for each byte: a mount can have ten thousand names.
func Edits(a, b string, most int) int {
	if len(a) > maxLength || len(b) > maxLength || max(len(a)-len(b), len(b)-len(a)) > most {
		return most + 1
	}
	a, b = withoutCommonEnds(a, b)
	var rows [2][maxLength + 1]int // the row of i has the edits between a[:i] and each b[:j]
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		above, row := &rows[(i-1)%2], &rows[i%2]
		// Only the columns from i-most to i+most can have so few edits.
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

// withoutCommonEnds returns two names without their common beginning and end.
func withoutCommonEnds(a, b string) (restOfA, restOfB string) {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}
