// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"slices"
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
	// leastLetters is the smallest number of letters and digits at which a secret is also found without its prefix.
	// A shorter secret would be found inside ordinary words.
	leastLetters = 8

	redacted = "[redacted]"
	cut      = "…"
)

// Redact makes text from Modal safe for logs and messages. It returns one printable line of at most 300
// bytes. It replaces everything that looks like a secret, and the given secrets in every spelling that it knows. Token IDs
// stay.
func Redact(text string, secrets ...string) string {
	known := newKnownSecrets(secrets)
	return clip(known.hide(oneLine(text)), maxText)
}

// maxSeen limits the memory of a redactor: the number of names, and the number of role sets.
const maxSeen = 4096

// redactor cleans the texts of one answer. It knows the secrets of the call.
type redactor struct {
	secrets knownSecrets
	seen    map[string]string
	// kept counts the bytes of memory for the texts and maps of a list. Garbage counts too, because it uses
	// memory until it is collected.
	kept int

	raw    []byte                                // the environment roles of the service user that is being decoded
	shared map[string]map[string]EnvironmentRole // role sets by their encoded bytes
}

func newRedactor(secrets ...string) *redactor {
	return &redactor{
		secrets: newKnownSecrets(secrets), seen: map[string]string{}, shared: map[string]map[string]EnvironmentRole{},
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

// knownSecrets contains the secrets of a call in the spellings that it searches for. It is not safe for concurrent use.
type knownSecrets struct {
	spellings [][]byte // letters
	text      letters  // of the text in which it searches
}

func newKnownSecrets(secrets []string) (known knownSecrets) {
	for _, secret := range secrets {
		for i, spelling := range spellings(secret) {
			known.text.read(spelling, plain)
			if n := len(known.text.folded); n >= leastLetters || (i == 0 && n >= len(secretPrefix)) {
				known.spellings = append(known.spellings, slices.Clone(known.text.folded))
			}
		}
	}
	return known
}

// spellings returns the texts that give a secret away: the secret with and without its prefix, and in base64. Base64 has
// three forms of a secret, because three bytes become four characters: the place of the secret decides.
func spellings(secret string) []string {
	bare := strings.TrimPrefix(secret, secretPrefix)
	if len(bare) < leastLetters {
		return []string{secret}
	}
	found := []string{secret, bare}
	for before := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", before) + bare + "  "))
		// A character holds six bits. The first and the last characters also hold bits of the neighbours.
		found = append(found, encoded[(before*8+5)/6:(before+len(bare))*8/6])
	}
	return found
}

// hide replaces every place in s that has the shape of a secret or is a known secret. If s contains no secret, hide
// allocates no memory: Modal's lists of names are long.
func (k *knownSecrets) hide(s string) string {
	places := append(shapesIn(s), k.find(s, plain)...)
	// Read s both ways, because "%ABc" may be an escape or the beginning of a secret after a "%".
	if strings.Contains(s, "%") {
		places = append(places, k.find(s, unescaped)...)
	}
	return replace(s, places)
}

// find returns the places in s that are a known secret, however its letters are separated.
func (k *knownSecrets) find(s string, r reading) (places [][2]int) {
	k.text.read(s, r)
	for _, secret := range k.spellings {
		for from := 0; ; from++ {
			at := bytes.Index(k.text.folded[from:], secret)
			if at < 0 {
				break
			}
			from += at
			places = append(places, [2]int{k.text.from[from], k.text.to[from+len(secret)-1]})
		}
	}
	return places
}

func replace(s string, places [][2]int) string {
	if len(places) == 0 {
		return s
	}
	hidden := make([]bool, len(s))
	for _, place := range places {
		for i := place[0]; i < place[1]; i++ {
			hidden[i] = true
		}
	}
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

// letters contains the ASCII letters of a text, in lower case, and its digits, each with its position in the
// text. It leaves out all other characters, for example quotes, spaces, hyphens or characters without width:
// they do not distinguish one secret from another.
type letters struct {
	folded   []byte
	from, to []int
}

// reading selects how percent-escapes in a text are read.
type reading bool

const (
	plain     reading = false
	unescaped reading = true // a percent-escape is read as the character that it encodes
)

// read replaces the content by the letters and digits of s. It converts full-width characters.
func (l *letters) read(s string, r reading) {
	l.folded, l.from, l.to = l.folded[:0], l.from[:0], l.to[:0]
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		if r == unescaped && c == '%' {
			c, size = unescape(s[i:])
		}
		if c >= '！' && c <= '～' {
			c -= '！' - '!'
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') {
			l.folded, l.from, l.to = append(l.folded, byte(c)), append(l.from, i), append(l.to, i+size) //nolint:gosec // c is ASCII
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
	var decoded [1]byte
	if end := at + 2; end <= len(s) {
		if _, err := hex.Decode(decoded[:], []byte(s[at:end])); err == nil {
			return rune(decoded[0]), end
		}
	}
	return '%', 1
}
