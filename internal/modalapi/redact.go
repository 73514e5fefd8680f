// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxText limits a text from Modal, maxName a name or an ID, in bytes.
	maxText = 300
	maxName = 128
	// maxRead limits how many bytes of a text are read. The rest could not be shown anyway.
	maxRead = 16 << 10
	// textPart and namePart are the lengths at which consecutive characters of a secret count as a part of
	// it. Names use a longer length: a list can have tens of thousands of names, and a name that matches by
	// accident could not be used any more.
	textPart = 6
	namePart = 9

	redacted = "[redacted]"
	cut      = "…"
)

// jwt matches a signed token. Modal's input plane accepts JWTs as credentials.
var jwt = regexp.MustCompile(`eyJ[\w-]{6,}(?:\.[\w-]*)+`)

// secretLength is the smallest number of letters and digits after the prefix of a secret. At least one of
// them must be an upper-case letter, so that "aws-infrastructuremonitoring" stays a name. Only one secret in
// 150,000 has no upper-case letter.
const secretLength = 22

// HoldsSecret reports whether text contains something with the shape of a token secret: "as-" and at least 22
// letters or digits, with at least one upper-case letter.
func HoldsSecret(text string) bool {
	return len(secretsOf(text, secretPrefix)) > 0
}

// secretsOf returns the places in s that have the shape of a secret with one of the prefixes. Each prefix
// must end in a hyphen.
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

// shapesIn returns the places in s that have the shape of one of Modal's secrets. It finds a token secret
// (as-) anywhere, the secret of a proxy token (ws-) or an OAuth client (ov-) at the beginning of a word, and
// any JWT.
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

// Redact makes text from Modal safe for logs and messages. It returns one printable line of at most 300
// bytes. It replaces everything that looks like a secret, and the given secrets in any spelling, also when
// only a longer part of them appears. Token IDs stay.
func Redact(text string, secrets ...string) string {
	known := newSecretParts(textPart, secrets)
	return clip(known.hide(oneLine(text)), maxText)
}

// maxSeen limits the memory of a redactor: the number of names, and the number of role sets.
const maxSeen = 4096

// redactor cleans the texts of one answer. It knows the secrets of the call.
type redactor struct {
	secrets secretParts
	seen    map[string]string
	// kept counts the bytes of memory for the texts and maps of a list. Garbage counts too, because it uses
	// memory until it is collected.
	kept int

	raw    []byte                                // the environment roles of the service user that is being decoded
	shared map[string]map[string]EnvironmentRole // role sets by their encoded bytes
}

func newRedactor(secrets ...string) *redactor {
	return &redactor{
		secrets: newSecretParts(namePart, secrets), seen: map[string]string{}, shared: map[string]map[string]EnvironmentRole{},
	}
}

const (
	// textSize is the approximate memory of a text in bytes, without its content.
	textSize = 8
	// cleaningFactor is the memory that cleaning a text needs, as a multiple of its size.
	cleaningFactor = 8
)

// text returns the first maxRead bytes of a text in a list.
func (r *redactor) text(v value) string {
	s := string(v.bytes[:min(len(v.bytes), maxRead)])
	r.kept += len(s) + textSize
	return s
}

// repeatedName returns a name that a long list contains many times, for example an environment's name. It
// remembers the cleaned form of up to maxSeen names.
func (r *redactor) repeatedName(v value) string {
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

// name returns a name unchanged if it is short, printable and without a secret. Otherwise it returns a
// cleaned name that ends in "…", so that the result equals no real name.
func (r *redactor) name(s string) string {
	line := oneLine(s)
	if safe := r.secrets.hide(line); safe != s || len(s) > maxName {
		r.kept += cleaningFactor * len(s)
		return strings.TrimSuffix(clip(safe, maxName-len(cut)), cut) + cut
	}
	return s
}

// id returns an ID unchanged, or the empty string if the text cannot be an ID. The engine compares IDs and
// sends them back to Modal, so a shortened ID would be useless.
func (r *redactor) id(s string) string {
	odd := strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0
	if odd || len(s) > maxName || r.secrets.hide(s) != s {
		r.kept += cleaningFactor * len(s)
		return ""
	}
	return s
}

// oneLine returns the beginning of s without unprintable characters. It must run before the search for
// secrets, because an unprintable character inside a secret would hide the secret from the patterns.
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

// clip shortens s to at most limit bytes, including the mark "…".
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

// secretParts contains the parts of some secrets in the form of a skeleton. It is not safe for concurrent
// use.
type secretParts struct {
	parts   map[int]map[string]bool // by their length
	scratch skeleton
}

// newSecretParts collects all parts of the given length. A secret that is shorter becomes its own only part.
func newSecretParts(part int, secrets []string) secretParts {
	found := secretParts{parts: map[int]map[string]bool{}}
	for _, secret := range secrets {
		// Keep the prefix: without it, a short secret would be found inside ordinary words.
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

// hide replaces every place in s that has the shape of a secret or contains a part of a known secret. If s
// contains no secret, hide allocates no memory: Modal's lists of names are long.
func (n *secretParts) hide(s string) string {
	var hidden []bool
	mark := func(from, to int) {
		if hidden == nil {
			hidden = make([]bool, len(s))
		}
		for i := from; i < to; i++ {
			hidden[i] = true
		}
	}
	// Read s both ways, because "%ABc" may be an escape or the beginning of a secret after a "%".
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
func (n *secretParts) find(s string, r reading, mark func(from, to int)) {
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

// skeleton contains the ASCII letters of a text, in lower case, and its digits, each with its position in the
// text. It leaves out all other characters, for example quotes, spaces, hyphens or characters without width:
// they do not distinguish one secret from another.
type skeleton struct {
	letters  []byte
	from, to []int
}

// reading selects how percent-escapes in a text are read.
type reading bool

const (
	plain     reading = false
	unescaped reading = true // a percent-escape is read as the character that it encodes
)

// read replaces the skeleton by the skeleton of s.
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

// unescape decodes the percent-escape at the beginning of s. The percent sign may itself be escaped several
// times.
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

// fold returns c as an ASCII digit or a letter in lower case, and 0 for any other character. It converts
// full-width characters.
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
