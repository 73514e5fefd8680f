// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText is how long a text from Modal may be, maxName a name or ID, in bytes.
	maxText = 300
	maxName = 128
	// maxRead is how much of a text is looked at: what follows could not be shown anyway.
	maxRead = 16 << 10
	// textPart and namePart are how many characters of a secret in a row are a part of it. Of names
	// there are tens of thousands in a list, and one that is taken for a part would be no name any more.
	textPart = 6
	namePart = 9

	redacted = "[redacted]"
	cut      = "…"
)

// jwt is a signed token of the kind that Modal's input plane takes.
var jwt = regexp.MustCompile(`eyJ[\w-]{6,}(?:\.[\w-]*)+`)

// secretLength is how many letters and digits follow the prefix of a secret, at least. One of them is an
// upper-case letter, so that "aws-infrastructuremonitoring" stays a name. Only one secret in 150,000 has no
// upper-case letter.
const secretLength = 22

// HoldsSecret reports whether some part of text has the shape of a token secret: "as-" and at least 22
// letters or digits, one of them an upper-case letter.
func HoldsSecret(text string) bool {
	return len(secretsOf(text, secretPrefix)) > 0
}

// secretsOf returns the places in s that have the shape of a secret with one of the prefixes. Each prefix
// ends in a hyphen.
func secretsOf(s string, prefixes ...string) (found [][2]int) {
	for i := range len(s) {
		for _, prefix := range prefixes {
			if s[i] != '-' || !strings.HasSuffix(s[:i+1], prefix) {
				continue
			}
			run := s[i+1:]
			if end := strings.IndexFunc(run, notAlphanumeric); end >= 0 {
				run = run[:end]
			}
			if len(run) >= secretLength && strings.ContainsFunc(run, isUpper) {
				found = append(found, [2]int{i + 1 - len(prefix), i + 1 + len(run)})
			}
		}
	}
	return found
}

func isUpper(r rune) bool { return r >= 'A' && r <= 'Z' }

func notAlphanumeric(r rune) bool {
	return !isUpper(r) && (r < 'a' || r > 'z') && (r < '0' || r > '9')
}

// shapesIn returns the places in s that have the shape of a secret of Modal's: a token's (as-) anywhere, a
// proxy token's (ws-) or an OAuth client's (ov-) at the beginning of a word, and JWTs.
func shapesIn(s string) [][2]int {
	found := secretsOf(s, secretPrefix)
	for _, at := range secretsOf(s, "ws-", "ov-") {
		if at[0] == 0 || notAlphanumeric(rune(s[at[0]-1])) {
			found = append(found, at)
		}
	}
	if strings.Contains(s, "eyJ") {
		for _, at := range jwt.FindAllStringIndex(s, -1) {
			found = append(found, [2]int{at[0], at[1]})
		}
	}
	return found
}

// Redact makes text from Modal fit to be logged and shown: one printable line of at most 300 bytes in
// which whatever looks like a secret is replaced, and the given secrets in any spelling and larger part
// of theirs. Token IDs stay.
func Redact(text string, secrets ...string) string {
	known := newNeedles(textPart, secrets)
	return clip(known.hide(oneLine(text)), maxText)
}

// maxSeen bounds the memory of a redactor: the number of names, and of sets of roles.
const maxSeen = 4096

// redactor cleans the texts of one answer, whose secrets it knows.
type redactor struct {
	secrets needles
	seen    map[string]string
	// kept is how many bytes the texts and maps of a list take. Garbage counts too, because it takes memory
	// until it is collected.
	kept int

	raw    []byte                                // environment roles that are being read
	shared map[string]map[string]EnvironmentRole // by their bytes
}

func newRedactor(secrets ...string) *redactor {
	return &redactor{
		secrets: newNeedles(namePart, secrets), seen: map[string]string{}, shared: map[string]map[string]EnvironmentRole{},
	}
}

const (
	// textSize is about how many bytes a text takes beside its content.
	textSize = 8
	// mending is how many times the size of a text its cleaning takes.
	mending = 8
)

// text returns a text of a list as far as any text is read.
func (r *redactor) text(v value) string {
	s := string(v.bytes[:min(len(v.bytes), maxRead)])
	r.kept += len(s) + textSize
	return s
}

// common returns a name that a long list repeats, such as an environment's.
func (r *redactor) common(v value) string {
	if clean, known := r.seen[string(v.bytes)]; known {
		return clean
	}
	s := r.text(v)
	clean := r.name(s)
	if len(r.seen) < maxSeen && len(s) <= maxName {
		r.seen[s] = clean
	}
	return clean
}

// name returns a name as Modal gave it when it can be one: not long, printable and without a secret.
// A name that had to be changed ends in "…" and so is nobody's name.
func (r *redactor) name(s string) string {
	line := oneLine(s)
	if safe := r.secrets.hide(line); safe != s || len(s) > maxName {
		r.kept += mending * len(s)
		return strings.TrimSuffix(clip(safe, maxName-len(cut)), cut) + cut
	}
	return s
}

// id returns an ID as Modal gave it, or nothing when it cannot be one: an ID is sent back and compared,
// so a part of it is of no use.
func (r *redactor) id(s string) string {
	odd := strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0
	if odd || len(s) > maxName || r.secrets.hide(s) != s {
		r.kept += mending * len(s)
		return ""
	}
	return s
}

// oneLine returns the beginning of s without what cannot be printed. Unprintable characters go first,
// as one inside a secret would hide it from the patterns.
func oneLine(s string) string {
	if len(s) > maxRead {
		s = s[:maxRead]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
}

// clip shortens s to at most limit bytes, the mark included.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit - len(cut)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cut
}

// needles are the parts of some secrets, spelt as a skeleton is. They are not safe for concurrent use.
type needles struct {
	parts   map[int]map[string]bool // by their lengths
	scratch skeleton
}

// newNeedles takes all parts of that length; a secret that is shorter is its only part.
func newNeedles(part int, secrets []string) needles {
	found := needles{parts: map[int]map[string]bool{}}
	for _, secret := range secrets {
		// The prefix belongs to it: a short secret alone would be found in every word.
		found.scratch.read(secret, plain)
		whole := found.scratch.letters
		if len(whole) <= len(secretPrefix)-1 {
			continue
		}
		size := min(part, len(whole))
		if found.parts[size] == nil {
			found.parts[size] = map[string]bool{}
		}
		for i := range len(whole) - size + 1 {
			found.parts[size][string(whole[i:i+size])] = true
		}
	}
	return found
}

// hide replaces the places in s that have the shape of a secret or hold a part of a known secret. It
// allocates nothing when there are none, as in the long lists of names that Modal answers.
func (n *needles) hide(s string) string {
	var hidden []bool
	mark := func(from, to int) {
		if hidden == nil {
			hidden = make([]bool, len(s))
		}
		for i := from; i < to; i++ {
			hidden[i] = true
		}
	}
	// Both readings are needed, as "%ABc" may be an escape or the begin of a secret after a "%".
	n.find(s, plain, mark)
	if strings.Contains(s, "%") {
		n.find(s, unescaped, mark)
	}
	for _, at := range shapesIn(s) {
		mark(at[0], at[1])
	}
	if hidden == nil {
		return s
	}
	return replace(s, hidden)
}

// find calls mark with each place in s that is a part of a secret.
func (n *needles) find(s string, r reading, mark func(from, to int)) {
	n.scratch.read(s, r)
	for size, parts := range n.parts {
		for i := range len(n.scratch.letters) - size + 1 {
			if parts[string(n.scratch.letters[i:i+size])] {
				mark(n.scratch.from[i], n.scratch.to[i+size-1])
			}
		}
	}
}

func replace(s string, hidden []bool) string {
	var out strings.Builder
	for i := range len(s) {
		if !hidden[i] {
			out.WriteByte(s[i])
		} else if i == 0 || !hidden[i-1] {
			out.WriteString(redacted)
		}
	}
	return out.String()
}

// skeleton is a text's ASCII letters, in lower case, and digits, each with where it begins and ends in
// the text. What stands between them tells no secret apart: quotes, spaces, hyphens of any kind, or
// characters without width.
type skeleton struct {
	letters  []byte
	from, to []int
}

// reading is how a text is read.
type reading bool

const (
	plain     reading = false
	unescaped reading = true // percent-escapes are read as what they stand for
)

// read makes the skeleton one of s.
func (k *skeleton) read(s string, r reading) {
	k.letters, k.from, k.to = k.letters[:0], k.from[:0], k.to[:0]
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		if r == unescaped && c == '%' {
			c, size = unescape(s[i:])
		}
		if letter := fold(c); letter != 0 {
			k.letters = append(k.letters, letter)
			k.from, k.to = append(k.from, i), append(k.to, i+size)
		}
		i += size
	}
}

// unescape reads the percent-escape at the beginning of s, which may be escaped itself.
func unescape(s string) (c rune, size int) {
	at := 1
	for strings.HasPrefix(s[at:], "25") {
		at += 2
	}
	if high, low := hexDigit(s, at), hexDigit(s, at+1); high >= 0 && low >= 0 {
		return high<<4 | low, at + 2
	}
	return '%', 1
}

func hexDigit(s string, at int) rune {
	if at >= len(s) {
		return -1
	}
	switch digit := fold(rune(s[at])); {
	case digit >= '0' && digit <= '9':
		return rune(digit - '0')
	case digit >= 'a' && digit <= 'f':
		return rune(digit-'a') + 10
	}
	return -1
}

// fold returns the letter in lower case or the digit that c is, wide ones included, else 0.
func fold(c rune) byte {
	if c >= '！' && c <= '～' {
		c -= '！' - '!'
	}
	switch {
	case c >= 'A' && c <= 'Z':
		return byte(c-'A') + 'a'
	case c >= 'a' && c <= 'z':
		return byte(c-'a') + 'a'
	case c >= '0' && c <= '9':
		return byte(c-'0') + '0'
	}
	return 0
}
