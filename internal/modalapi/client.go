// SPDX-License-Identifier: MPL-2.0

// Package modalapi is a client of Modal's control plane, the gRPC service modal.client.ModalClient. No other
// package knows gRPC: callers pass and receive plain Go types, and every failed call returns an [Error] with
// a [Kind].
//
// Modal's API is not public and may change at any time. The facts about it come from Modal's Go SDK v0.11.1,
// whose generated stubs this package uses. Code that relies on another source names the source.
package modalapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"golang.org/x/net/http/httpproxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
)

const (
	// DefaultServerURL is Modal's control plane (Modal's Go SDK v0.11.1, config.go).
	DefaultServerURL = "https://api.modal.com:443"
	// DefaultTimeout bounds a call when Options.Timeout is zero.
	DefaultTimeout = 15 * time.Second

	productName = "vault-plugin-secrets-modal"
)

// Options configures the server's address, the time limit and the hooks of a client.
type Options struct {
	// ServerURL must satisfy [ParseServerURL]; empty means [DefaultServerURL].
	ServerURL string
	// CACert contains PEM certificates that replace the system's roots; empty means the system's roots.
	CACert string
	// Timeout bounds a whole call with its retries and waits; zero means [DefaultTimeout].
	Timeout time.Duration
	// Version is the engine's version, which is reported to Modal; empty means "dev".
	Version string
	// Warn receives each distinct warning that Modal attaches to its answers, redacted, and at most a few for
	// each call. Several goroutines may call it at once. Nil drops the warnings.
	Warn func(message string)
	// Dial opens the connection to host:port; nil uses the default dialer. The host name is resolved before.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Jitter returns a number from 0 up to 1 for each wait before a retry. A seeded function makes the waits
	// of a call repeatable; nil uses a random number. Several goroutines may call it at once.
	Jitter func() float64
	// RetryWait is the wait before the first retry, which the next waits double; zero means 100 ms.
	RetryWait time.Duration
}

// Client calls Modal's control plane over one connection. It stores no token: each call receives its own. It
// is safe for concurrent use.
type Client struct {
	conn     *grpc.ClientConn
	stub     pb.ModalClientClient
	host     string
	server   string // the server URL
	headers  []string
	timeout  time.Duration
	warnings warnings
	jitter   func() float64
	// retryWait is the wait before the first retry.
	retryWait time.Duration
}

// New checks the options and returns a client. It does no I/O: the first call dials.
func New(o Options) (*Client, error) {
	serverURL, err := ParseServerURL(cmp.Or(o.ServerURL, DefaultServerURL))
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(serverURL)
	if err != nil {
		return nil, fmt.Errorf("server_url cannot be parsed: %w", err)
	}
	if o.Dial == nil {
		if err = checkProxy(address); err != nil {
			return nil, err
		}
	}
	transport, err := transportCredentials(address.Scheme, o.CACert)
	if err != nil {
		return nil, err
	}
	if o.Timeout < 0 {
		return nil, errors.New("request_timeout is negative: give a positive duration, or zero for the default")
	}
	product := productName + "/" + cmp.Or(o.Version, "dev")
	c := &Client{
		host:     address.Hostname(),
		server:   serverURL,
		headers:  commonHeaders(product, address.Hostname()),
		timeout:  cmp.Or(o.Timeout, DefaultTimeout),
		warnings: warnings{warn: o.Warn},
		jitter:   o.Jitter,

		retryWait: cmp.Or(o.RetryWait, retryBase),
	}
	dialJitter := 0.0 // gRPC's own random source takes no seed
	if o.Jitter == nil {
		c.jitter, dialJitter = rand.Float64, 0.2
	}
	var dial []grpc.DialOption
	if o.Dial != nil {
		dial = append(dial, grpc.WithContextDialer(o.Dial))
	}
	c.conn, err = grpc.NewClient("dns:///"+address.Host, append(dial,
		grpc.WithTransportCredentials(watchedCredentials{transport}),
		grpc.WithUserAgent(product),
		grpc.WithUnaryInterceptor(c.intercept),
		grpc.WithStatsHandler(answerWatch{}),
		grpc.WithMaxHeaderListSize(maxAnswer),
		// gRPC's own pool keeps a frame of 5 KB in a buffer of 16 KB.
		experimental.WithBufferPool(mem.NopBufferPool{}),
		// This package decides about retries, not a DNS record.
		grpc.WithDisableServiceConfig(),
		// These values come from Modal's Go SDK v0.11.1, client.go.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		// With gRPC's defaults, calls could fail for two minutes after Modal is back, and a retry
		// after a tenth of a second would not dial at all.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryBase, Multiplier: 2, Jitter: dialJitter, MaxDelay: 5 * time.Second},
			MinConnectTimeout: c.timeout,
		}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("the connection to %s could not be prepared: %w", c.host, err)
	}
	c.stub = pb.NewModalClientClient(c.conn)
	return c, nil
}

// Close ends the connection. Calls under way and later calls fail.
func (c *Client) Close() error {
	return c.conn.Close()
}

// checkProxy returns an error, written for the operator, if the environment sets a proxy for the server whose
// URL cannot be read. The packages net/http and grpc-go ignore such a proxy and connect to the server
// directly.
func checkProxy(server *url.URL) error {
	environment := httpproxy.FromEnvironment()
	if environment.HTTPSProxy == "" {
		return nil
	}
	target := &url.URL{Scheme: "https", Host: server.Host} // grpc-go looks up the same URL (internal/resolver/delegatingresolver)
	given, _ := environment.ProxyFunc()(target)
	environment.HTTPSProxy = "http://proxy.invalid"
	// The server needs no proxy if NO_PROXY names it or if it is on this machine.
	wanted, _ := environment.ProxyFunc()(target)
	// An unescaped "/" or "#" in the password makes "http:" the host.
	if wanted != nil && (given == nil || given.Host == "" || strings.HasSuffix(given.Host, ":")) {
		return errBadProxy
	}
	return nil
}

// errBadProxy does not repeat the URL, because the URL may contain a password.
var errBadProxy = errors.New("the proxy URL in the environment variable HTTPS_PROXY of the Vault server cannot be read, so Modal was not called. " +
	"Write it as http://user:password@host:port, escape special characters in user and password (%25 for %), and restart Vault")

func transportCredentials(scheme, caCert string) (credentials.TransportCredentials, error) {
	// Check ca_cert also for plain http, which ignores it: the next change of server_url may need it.
	roots, err := certPool(caCert)
	if err != nil {
		return nil, err
	}
	if scheme == "http" {
		return insecure.NewCredentials(), nil
	}
	return credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), nil
}

// commonHeaders returns the headers of every call (Modal's Go SDK v0.11.1, client.go). The SDK also sends
// x-modal-auth-token. This client leaves that header out, because getting it costs a second call, and Modal's
// Python client 1.6.4 sends it to the input plane, and to the control plane only with SandboxCreateV2.
func commonHeaders(product, host string) []string {
	return []string{
		"x-modal-client-type", strconv.Itoa(int(pb.ClientType_CLIENT_TYPE_LIBMODAL_GO)),
		"x-modal-client-version", "1.0.0",
		"x-modal-libmodal-version", product,
		"x-modal-host", host,
	}
}
