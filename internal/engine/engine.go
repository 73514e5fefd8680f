// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-modal/internal/store"
)

// Deps is what an engine needs of the world. All but Storage and MountID have no use but to be given by
// a test in place of the real thing.
type Deps struct {
	// Storage is the mount's own.
	Storage store.Storage
	// MountID tells this mount's service users from another's.
	MountID string
	Logger  hclog.Logger
	// Emit hears of each event.
	Emit func(ctx context.Context, event Event)
	// Now is the clock, and Wait waits until the time is over or ctx is.
	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration) error
	// Stagger is called by the nth of several jobs before it begins, so that in a simulation no two begin
	// at one instant: a seed would not tell their order. Nil does nothing.
	Stagger func(n int)
	// Dial opens a connection to Modal, and Random, from 0 to 1, spreads retries; nil for the network and
	// for luck.
	Dial   func(ctx context.Context, address string) (net.Conn, error)
	Random func() float64
}

// Engine is one mount's roles, tokens and ledger.
type Engine struct {
	deps    Deps
	clients *clients

	config      *store.Table[Config]
	roles       *store.Table[Role]
	credentials *store.Table[Credential]
	revocations *store.Table[Revocation]
	holders     *store.Table[holder]

	locks *nameLocks
	// handover is held while a token changes hands, so that no token gets two holders. Never across a
	// call to Modal.
	handover sync.Mutex

	// dueRoles and dueEntries say when a role, or an entry of the ledger, has to be attended to.
	dueRoles, dueEntries *dueTimes
	// ticking is held for a tick, and guards warnedOf, the last warning that was sent, and swept.
	ticking  sync.Mutex
	warnedOf warning
	swept    bool
	// logger names the mount.
	logger atomic.Pointer[mountLogger]
}

// Storage keys. The prefixes of entries that hold a token secret are seal-wrapped.
const (
	KeyConfig        = "config"
	prefixRole       = "role/"
	prefixCredential = "cred/"
	prefixRevocation = "revocation/"
	prefixHolder     = "token/"
)

// SecretKeys are the keys, and prefixes of keys, of entries that hold a token secret.
func SecretKeys() []string { return []string{KeyConfig, prefixCredential, prefixRevocation} }

// New makes an engine. It does no I/O and starts nothing.
func New(deps Deps) *Engine {
	if deps.Stagger == nil {
		deps.Stagger = func(int) {}
	}
	e := &Engine{deps: deps, locks: newNameLocks(), dueRoles: newDueTimes(), dueEntries: newDueTimes()}
	e.clients = &clients{
		open: map[clientOptions]*sharedClient{}, dial: deps.Dial, random: deps.Random,
		warn:    func(text string) { e.log().Warn("modal warns", "warning", text) },
		closing: func(err error) { e.log().Debug("closing a connection to modal", "error", err) },
	}
	e.config = store.New[Config](deps.Storage, KeyConfig, store.Options{RememberAbsent: true}) // most mounts have none, and every read asks
	e.roles = store.New[Role](deps.Storage, prefixRole, store.Options{Changed: e.dueRoles.touch})
	e.credentials = store.New[Credential](deps.Storage, prefixCredential, store.Options{Changed: e.dueRoles.touch})
	e.revocations = store.New[Revocation](deps.Storage, prefixRevocation, store.Options{Changed: e.dueEntries.touch})
	e.holders = store.New[holder](deps.Storage, prefixHolder, store.Options{})
	e.NameMount("")
	return e
}

// Now is the clock in the precision of storage.
func (e *Engine) Now() time.Time { return seconds(e.deps.Now()) }

// Invalidate drops what is remembered of a storage key that another node wrote.
func (e *Engine) Invalidate(key string) {
	e.config.Invalidate(key)
	e.roles.Invalidate(key)
	e.credentials.Invalidate(key)
	e.revocations.Invalidate(key)
	e.holders.Invalidate(key)
}

// Close lets the connections to Modal go.
func (e *Engine) Close() { e.clients.close() }
