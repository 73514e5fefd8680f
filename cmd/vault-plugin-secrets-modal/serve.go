// SPDX-License-Identifier: MPL-2.0

package main

import (
	"crypto/tls"
	"math"
	"os"
	"runtime"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/pluginutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
	"google.golang.org/grpc"
)

// minWorkers is enough for all reads that a node serves at the same time.
const minWorkers = 8

// serve does the same as the SDK's plugin.ServeMultiplex, with one more gRPC option that ServeMultiplex does not
// offer: persistent workers, which keep their grown stacks. Without them a tenth of a read's processor time goes
// into growing a new stack. The logger is the SDK's default, and Vault logs its JSON lines again.
func serve(factory logical.Factory, provider func() (*tls.Config, error)) error {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	versions := map[int]goplugin.PluginSet{}
	for version := 3; version <= 5; version++ {
		versions[version] = goplugin.PluginSet{"backend": &plugin.GRPCBackendPlugin{
			Factory: factory, Logger: logger, MultiplexingSupport: version == 5,
		}}
	}
	if err := pluginutil.OptionallyEnableMlock(); err != nil {
		return err
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig, VersionedPlugins: versions, Logger: logger, TLSProvider: provider,
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return goplugin.DefaultGRPCServer(append(options,
				grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
				grpc.NumStreamWorkers(uint32(max(minWorkers, runtime.GOMAXPROCS(0)))), //nolint:gosec // a small number
			))
		},
	})
	return nil
}
