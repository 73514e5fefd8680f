// SPDX-License-Identifier: MPL-2.0

// Command noop is a minimal Vault plugin: the SDK's stock server around a path that answers a fixed map, with the
// keys and the size of creds/<role>. A read of it costs only the work of Vault and the SDK. The plugin declares the
// path in both of the SDK's ways. With today's Operations the SDK asks Vault for its replication state at each
// request. With the older Callbacks, which have no documentation, it does not.
package main

import (
	"context"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	if err := plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: factory}); err != nil {
		hclog.New(&hclog.LoggerOptions{JSONFormat: true}).Error("plugin stopped", "error", err)
		os.Exit(1)
	}
}

func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := &framework.Backend{
		BackendType: logical.TypeLogical,
		Paths: []*framework.Path{
			{
				Pattern:    "creds/ci$",
				Operations: map[logical.Operation]framework.OperationHandler{logical.ReadOperation: &framework.PathOperation{Callback: read}},
			},
			{
				Pattern:   "callbacks/ci$",
				Callbacks: map[logical.Operation]framework.OperationFunc{logical.ReadOperation: read},
			},
		},
	}
	return b, b.Setup(ctx, conf)
}

func read(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Data: map[string]any{
		"token_id":            "ak-0000000000000000000000",
		"token_secret":        "as-0000000000000000000000",
		"workspace":           "demo",
		"profile":             "ci",
		"version":             int64(1),
		"server_url":          "http://127.0.0.1:40000",
		"ttl":                 int64(300),
		"rotation_period":     int64(7776000),
		"last_vault_rotation": "2026-01-01T00:00:00Z",
	}}, nil
}
