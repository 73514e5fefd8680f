// SPDX-License-Identifier: MPL-2.0

// Package modalsecrets is a Vault secrets engine for Modal account tokens. It stores them per role,
// hands them out in the forms that Modal's clients read, rotates them, and calls an old token revoked
// only when Modal refuses it.
//
// What holds after a crash at any write:
//   - A token becomes current only after Modal accepted it as the identity it should be, or after an
//     operator said verify=false.
//   - A role that had a working token has one.
//   - A token that a role no longer hands out, and every service user that the engine made, is in the
//     ledger until Modal refuses it or an operator forgets it.
//   - A token is called revoked only after Modal refused it, and the engine deletes only what it made
//     or was handed.
//   - Rotate, worker, update and delete of one role never overlap.
package modalsecrets

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/store"
	"vault-plugin-secrets-modal/internal/version"
)

// mountIDLength is how much of the mount's UUID goes into the names of its service users.
const mountIDLength = 8

type backend struct {
	*framework.Backend

	clock func() time.Time
	sleep func(ctx context.Context, d time.Duration) error
	// stagger is called by the nth of several jobs before it begins. It does nothing but in a simulation,
	// where no two may begin at one instant, or a seed would not tell their order.
	stagger func(n int)
	clients *clients
	// mountID tells this mount's service users from another's.
	mountID string

	config      *store.Table[config]
	roles       *store.Table[role]
	credentials *store.Table[credential]
	revocations *store.Table[revocation]
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

// Factory makes one mount's backend. It does no I/O and starts nothing: Vault also calls it only to
// ask for the plugin's type.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := newBackend(time.Now, wait) //nolint:forbidigo // the clock that everything else is given
	return b, b.setup(ctx, conf)
}

func (b *backend) setup(ctx context.Context, conf *logical.BackendConfig) error {
	if err := b.Setup(ctx, conf); err != nil {
		return fmt.Errorf("set up the backend: %w", err)
	}
	b.mountID = conf.BackendUUID[:min(len(conf.BackendUUID), mountIDLength)]
	b.nameMount("")
	b.keepIn(conf.StorageView)
	return nil
}

// Storage keys. The prefixes of entries that hold a token secret are seal-wrapped.
const (
	keyConfig        = "config"
	prefixRole       = "role/"
	prefixCredential = "cred/"
	prefixRevocation = "revocation/"
	prefixHolder     = "token/"
)

// keepIn makes the tables of this mount's storage.
func (b *backend) keepIn(storage store.Storage) {
	b.config = store.New[config](storage, keyConfig, store.Options{RememberAbsent: true}) // most mounts have none, and every read asks
	b.roles = store.New[role](storage, prefixRole, store.Options{Changed: b.dueRoles.touch})
	b.credentials = store.New[credential](storage, prefixCredential, store.Options{Changed: b.dueRoles.touch})
	b.revocations = store.New[revocation](storage, prefixRevocation, store.Options{Changed: b.dueEntries.touch})
	b.holders = store.New[holder](storage, prefixHolder, store.Options{})
}

// wait sleeps until the time is over or ctx is.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d) //nolint:forbidigo // what everything else is given to wait with
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newBackend(clock func() time.Time, sleep func(context.Context, time.Duration) error) *backend {
	b := &backend{
		clock:      clock,
		sleep:      sleep,
		stagger:    func(int) {},
		locks:      newNameLocks(),
		dueRoles:   newDueTimes(),
		dueEntries: newDueTimes(),
	}
	b.clients = &clients{
		open:    map[clientOptions]*sharedClient{},
		warn:    func(text string) { b.log().Warn("modal warns", "warning", text) },
		closing: func(err error) { b.log().Debug("closing a connection to modal", "error", err) },
	}
	b.Backend = &framework.Backend{
		BackendType:    logical.TypeLogical,
		RunningVersion: version.Version,
		Help:           strings.TrimSpace(backendHelp),
		Paths: framework.PathAppend(
			b.pathConfig(), b.pathRoles(), b.pathCreds(), b.pathRotate(), b.pathRevocations(),
		),
		PathsSpecial: &logical.Paths{
			SealWrapStorage: []string{keyConfig, prefixCredential, prefixRevocation},
		},
		PeriodicFunc: b.periodic,
		Invalidate:   b.invalidate,
		Clean:        func(context.Context) { b.clients.close() },
	}
	return b
}

// now is the clock in the precision of storage.
func (b *backend) now() time.Time { return seconds(b.clock()) }

// periodic runs once a minute. Nodes that may not write leave the work to the one that may.
func (b *backend) periodic(ctx context.Context, req *logical.Request) error {
	if !b.WriteSafeReplicationState() {
		return nil
	}
	b.nameMount(req.MountPoint)
	return b.work(ctx)
}

func (b *backend) invalidate(_ context.Context, key string) {
	b.config.Invalidate(key)
	b.roles.Invalidate(key)
	b.credentials.Invalidate(key)
	b.revocations.Invalidate(key)
	b.holders.Invalidate(key)
}

const backendHelp = `
The Modal secrets engine keeps Modal account tokens (ak-…, as-…) per role and hands them out raw, as
environment variables and as .modal.toml. "rotate" replaces a role's token by one that Modal accepts,
keeps the old one for a grace period, and follows it in the ledger ("revocations") until Modal
refuses it.

Start with "roles/<role>" and read "creds/<role>"; "config" is needed only for another server or an
admin token.
`
