// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Token is a Modal account token with its secret. All its text forms show only the ID.
type Token struct{ ID, Secret string }

// String returns only the ID.
func (t Token) String() string { return t.ID }

// GoString returns only the ID.
func (t Token) GoString() string { return t.ID }

// Format writes only the ID for every verb and flag.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.ID) }

// Kind says whether a member or a service user owns a token.
type Kind string

// These are the kinds of token owner.
const (
	KindMember      Kind = "member"
	KindServiceUser Kind = "service-user"
)

// TokenInfo describes a token that was not deleted, without its secret.
type TokenInfo struct {
	ID        string
	Workspace string // the workspace's name
	Owner     string // the member's or service user's name
	Kind      Kind
	Created   time.Time
	Expires   time.Time // zero: never
	LastUsed  time.Time // zero: never used
	Disabled  bool      // rejected until it is enabled again
}

type token struct {
	Token
	serial       int // counts all tokens of the server
	name         string
	workspace    *Workspace
	member       *Member // exactly one of member and serviceUser is set
	serviceUser  *serviceUser
	created      time.Time
	usableFrom   time.Time
	expires      time.Time // zero: never
	lastUsed     time.Time
	rejectedFrom time.Time // zero: not deleted
	disabled     bool
}

func (t *token) expired(now time.Time) bool {
	return !t.expires.IsZero() && !now.Before(t.expires)
}

func (t *token) info() TokenInfo {
	info := TokenInfo{
		ID: t.ID, Workspace: t.workspace.name,
		Created: t.created, Expires: t.expires, LastUsed: t.lastUsed, Disabled: t.disabled,
	}
	if t.serviceUser != nil {
		info.Kind, info.Owner = KindServiceUser, t.serviceUser.name
	} else {
		info.Kind, info.Owner = KindMember, t.member.username
	}
	return info
}

// TokenOption changes a token when it is created.
type TokenOption func(*token)

// ExpiresAt sets the token's expiry; the zero time means never.
func ExpiresAt(t time.Time) TokenOption {
	return func(tok *token) { tok.expires = t }
}

// Named sets the token name that TokenInfoGet reports.
func Named(name string) TokenOption {
	return func(tok *token) { tok.name = name }
}

// mint completes t and stores it. The caller must lock s.mu.
func (s *Server) mint(t *token, opts []TokenOption) Token {
	t.serial = len(s.secrets)
	for _, opt := range opts {
		opt(t)
	}
	owner := "member"
	if t.serviceUser != nil {
		owner = t.serviceUser.id
	} else if t.member != nil {
		owner = t.member.id
	}
	n := s.count("tokens of " + owner)
	t.Token = Token{ID: s.derivedID("ak-", owner, n), Secret: s.derivedID("as-", owner, n)}
	t.created = s.now()
	t.usableFrom = t.created.Add(s.rejectNewFor)
	s.tokens[t.ID] = t
	s.secrets = append(s.secrets, t.Secret)
	return t.Token
}

// expire deletes expired service users if WithExpiryDeletes is set. The caller must lock s.mu.
func (s *Server) expire() {
	if !s.expiryDeletes {
		return
	}
	for _, t := range s.tokens {
		if t.serviceUser != nil && t.rejectedFrom.IsZero() && t.expired(s.now()) {
			s.deleteToken(t, 0)
		}
	}
}

// listed returns the tokens that were not deleted, oldest first. The caller must lock s.mu.
func (s *Server) listed() []*token {
	s.expire()
	tokens := make([]*token, 0, len(s.tokens))
	for _, t := range s.tokens {
		if t.rejectedFrom.IsZero() {
			tokens = append(tokens, t)
		}
	}
	slices.SortFunc(tokens, func(a, b *token) int { return a.serial - b.serial })
	return tokens
}

// Tokens describes all tokens that were not deleted, oldest first. It includes expired tokens.
func (s *Server) Tokens() []TokenInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens := s.listed()
	infos := make([]TokenInfo, len(tokens))
	for i, t := range tokens {
		infos[i] = t.info()
	}
	return infos
}

// Accepts reports whether the control plane would accept the token now: the token was not deleted or
// disabled, has not expired, and is not too new. Accepts does not count as a call or as a use of the token.
func (s *Server) Accepts(tokenID, secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.lookUp(tokenID, secret)
	return err == nil
}

// Use simulates a call with a token and reports whether the token was accepted.
func (s *Server) Use(tokenID, secret string) bool {
	_, err := s.use(tokenID, secret)
	return err == nil
}

// DeleteToken deletes the token as a person does on the dashboard, together with its service user. It reports
// whether the token existed.
func (s *Server) DeleteToken(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	t := s.tokens[id]
	if t == nil || !t.rejectedFrom.IsZero() {
		return false
	}
	s.deleteToken(t, 0)
	return true
}

// deleteToken deletes a listed token together with its service user. The token stays accepted for the
// duration keep. The caller must lock s.mu.
func (s *Server) deleteToken(t *token, keep time.Duration) {
	if t.serviceUser != nil {
		t.workspace.serviceUsers.remove(t.serviceUser)
		s.rememberDeleted(t.serviceUser)
	}
	if keep <= 0 {
		delete(s.tokens, t.ID)
		return
	}
	t.rejectedFrom = s.now().Add(keep)
}

// SetExpiry changes the token's expiry; the zero time means never. It panics if no token has that ID.
func (s *Server) SetExpiry(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[id]
	if t == nil {
		panic("modaltest: set a token's expiry: no token has that ID")
	}
	t.expires = at
}

// SetDisabled disables the token as a person does on the dashboard, or enables it again. It panics if no
// token has that ID.
func (s *Server) SetDisabled(id string, disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[id]
	if t == nil {
		panic("modaltest: disable a token: no token has that ID")
	}
	t.disabled = disabled
}

// randomID returns the prefix and 22 base62 characters, the format of all of Modal's IDs and secrets (Go SDK,
// name_utils.go).
func randomID(prefix string) string {
	const length, base = 22, 62
	n := randomBelow(new(big.Int).Exp(big.NewInt(base), big.NewInt(length), nil))
	digits := n.Text(base)
	return prefix + strings.Repeat("0", length-len(digits)) + digits
}

// derivedID returns an ID, or a secret, that depends on the server, the owner and the number alone. So a simulation gets
// the same tokens from the same seed, also where several are created at one instant.
func (s *Server) derivedID(prefix, owner string, n int) string {
	const length, base = 22, 62
	mac := hmac.New(sha256.New, s.jwtKey)
	fmt.Fprintf(mac, "%s %s %d", prefix, owner, n)
	number := new(big.Int).SetBytes(mac.Sum(nil))
	number.Mod(number, new(big.Int).Exp(big.NewInt(base), big.NewInt(length), nil))
	digits := number.Text(base)
	return prefix + strings.Repeat("0", length-len(digits)) + digits
}

// count returns how often it was called with this name before. The caller holds s.mu.
func (s *Server) count(name string) int {
	n := s.counts[name]
	s.counts[name]++
	return n
}

func randomBelow(limit *big.Int) *big.Int {
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic("modaltest: read random bytes: " + err.Error())
	}
	return n
}
