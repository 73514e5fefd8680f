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

// leastWorkers are enough for the reads that one node serves at a time.
const leastWorkers = 8

// serve is the SDK's plugin.ServeMultiplex with one gRPC option more, which that has no place for: workers
// that stay, and with them stacks that have grown. Without it a tenth of a read's processor time goes into
// growing a new one each time. The logger is the SDK's default, whose JSON lines Vault logs again.
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
				grpc.NumStreamWorkers(uint32(max(leastWorkers, runtime.GOMAXPROCS(0)))), //nolint:gosec // a small number
			))
		},
	})
	return nil
}
