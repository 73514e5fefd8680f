// SPDX-License-Identifier: MPL-2.0

// Package modalsecrets is a Vault secrets engine for Modal account tokens. The engine stores tokens per role, returns
// them in the forms that Modal's clients read, and rotates them. It calls an old token revoked only after Modal
// rejects it.
//
// This package decodes requests and writes responses. The rules for tokens are in internal/engine and in the packages
// below it.
package modalsecrets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/state"
	"vault-plugin-secrets-modal/internal/version"
)

// mountIDLength is how many characters of the mount's UUID are in the names of its service users.
const mountIDLength = 8

// Backend is the backend of one mount.
type Backend struct {
	*framework.Backend

	engine *engine.Engine
}

// Factory builds the backend of one mount. It does no I/O and starts no goroutine, because Vault also calls it to
// learn the type of the plugin.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	if printsHTTP2(os.Getenv("GODEBUG")) {
		return nil, errors.New("the plugin does not start while the environment variable GODEBUG has http2debug, because Go then prints " +
			"the traffic with Modal, token secrets too: start Vault without http2debug in GODEBUG")
	}
	return New(ctx, conf, state.Deps{Now: time.Now, Wait: wait, Connect: connect}) //nolint:forbidigo // the clock that everything else is given
}

// printsHTTP2 reports whether Go prints HTTP/2 frames or headers. It reads GODEBUG as golang.org/x/net/http2 does.
func printsHTTP2(godebug string) bool {
	return strings.Contains(godebug, "http2debug=1") || strings.Contains(godebug, "http2debug=2")
}

// New builds a backend. Tests replace the clock and the Modal client through deps; conf supplies storage, logger,
// events and the mount's ID.
func New(ctx context.Context, conf *logical.BackendConfig, deps state.Deps) (*Backend, error) {
	b := &Backend{}
	b.Backend = &framework.Backend{
		BackendType:    logical.TypeLogical,
		RunningVersion: version.Version,
		Help:           strings.TrimSpace(backendHelp),
		Paths: framework.PathAppend(
			b.pathConfig(), b.pathConfigRotate(), b.pathRoles(), b.pathCreds(), b.pathRotate(), b.pathApproval(),
			b.pathVerify(), b.pathLookup(), b.pathRevocations(), b.pathOrphans(), b.pathStatus(),
		),
		Secrets:      []*framework.Secret{b.leaseSecret()},
		PathsSpecial: &logical.Paths{SealWrapStorage: state.SecretKeys()},
		PeriodicFunc: b.periodic,
		Invalidate:   func(_ context.Context, key string) { b.engine.Mount.Invalidate(key) },
		Clean:        func(context.Context) { b.engine.Close() },
	}
	if err := b.Setup(ctx, conf); err != nil {
		return nil, fmt.Errorf("set up the backend: %w", err)
	}
	deps.Storage, deps.Logger, deps.Emit = conf.StorageView, b.Logger(), b.emit
	deps.MountID = conf.BackendUUID[:min(len(conf.BackendUUID), mountIDLength)]
	b.engine = engine.New(deps)
	return b, nil
}

// connect opens a connection to Modal over the network.
func connect(options modalapi.Options) (state.Modal, error) {
	options.Version = version.Version
	return modalapi.New(options)
}

// wait returns when d is over or ctx ends.
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

// periodic runs the worker once a minute. Only the node that may write to storage does so.
func (b *Backend) periodic(ctx context.Context, req *logical.Request) error {
	if !b.WriteSafeReplicationState() {
		return nil
	}
	b.engine.Mount.SetPath(req.MountPoint)
	return b.engine.Worker.Tick(ctx)
}

const backendHelp = `
The Modal secrets engine stores Modal account tokens (ak-…, as-…) per role. It returns them as ID and secret, as
environment variables and as .modal.toml. "rotate" replaces a role's token by a newer token that Modal accepts. The
old token stays valid for a grace period, and is in the revocation queue ("revocations") until Modal rejects it.

A static role on Modal's own server needs no "config": begin with "roles/<role>" and read "creds/<role>". Managed and
dynamic roles need an admin token: write "config" first.
`
