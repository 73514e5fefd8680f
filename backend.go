// SPDX-License-Identifier: MPL-2.0

// Package modalsecrets is a Vault secrets engine for Modal account tokens. It stores them per role,
// hands them out in the forms that Modal's clients read, rotates them, and calls an old token revoked
// only when Modal refuses it. Here requests come in and answers go out; what is right for a token is
// decided in internal/engine.
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

// mountIDLength is how much of the mount's UUID goes into the names of its service users.
const mountIDLength = 8

type backend struct {
	*framework.Backend

	engine *engine.Engine
}

// Factory builds one mount's backend. It does no I/O and starts nothing: Vault also calls it only to ask for the
// plugin's type.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	if printsHTTP2(os.Getenv("GODEBUG")) {
		return nil, errors.New("the plugin does not start while the environment variable GODEBUG has http2debug, because Go then prints " +
			"the traffic with Modal, token secrets too: start Vault without http2debug in GODEBUG")
	}
	return newBackend(ctx, conf, state.Deps{Now: time.Now, Wait: wait, Connect: connect}) //nolint:forbidigo // the clock that everything else is given
}

// printsHTTP2 reports whether Go prints HTTP/2 frames or headers. It reads GODEBUG as golang.org/x/net/http2 does.
func printsHTTP2(godebug string) bool {
	return strings.Contains(godebug, "http2debug=1") || strings.Contains(godebug, "http2debug=2")
}

// newBackend makes a backend whose engine has of the world what deps says, and the rest of what Vault
// gives.
func newBackend(ctx context.Context, conf *logical.BackendConfig, deps state.Deps) (*backend, error) {
	b := &backend{}
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

// connect makes a connection to a Modal over the network.
func connect(options modalapi.Options) (state.Modal, error) {
	options.Version = version.Version
	return modalapi.New(options)
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

// periodic runs once a minute. Nodes that may not write leave the work to the one that may.
func (b *backend) periodic(ctx context.Context, req *logical.Request) error {
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

Start with "roles/<role>" and read "creds/<role>"; "config" is needed only for another server or an
admin token.
`
