// SPDX-License-Identifier: MPL-2.0

// Package modalapi is a client of Modal's control plane, the gRPC service
// modal.client.ModalClient. It is the only package that knows the wire: plain Go types go in and
// come out, and every failure of a call is an [Error] of one [Kind].
//
// Modal calls this API not public and free to change; what is known about it comes from Modal's Go
// SDK v0.11.1, whose generated stubs are used here, and is named next to the code that relies on it.
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

// Options say where Modal is and how long to wait for it.
type Options struct {
	// ServerURL is checked by [ParseServerURL]; empty means [DefaultServerURL].
	ServerURL string
	// CACert holds PEM certificates which replace the system's roots; empty means the system's roots.
	CACert string
	// Timeout bounds a whole call, its retries and waits included; zero means [DefaultTimeout].
	Timeout time.Duration
	// Version is the engine's own, reported to Modal; empty means "dev".
	Version string
	// Warn receives each distinct warning that Modal attaches to its answers, redacted, and a few of
	// one call at most. It may be called from several goroutines at once; nil drops the warnings.
	Warn func(message string)
	// Dial opens the connection to host:port, nil as usual. A host name is looked up before.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Jitter returns a number from 0 up to 1 for each wait before a retry, nil any: with a given one
	// the waits of a call follow from it alone. It may be called from several goroutines at once.
	Jitter func() float64
}

// Client calls Modal's control plane over one connection. It holds no token: each call brings its
// own. It is safe for concurrent use.
type Client struct {
	conn     *grpc.ClientConn
	stub     pb.ModalClientClient
	host     string
	server   string // the server URL
	headers  []string
	timeout  time.Duration
	warnings warnings
	jitter   func() float64
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
		return nil, errors.New("the request timeout is negative: give a positive duration, or zero for the default")
	}
	product := productName + "/" + cmp.Or(o.Version, "dev")
	c := &Client{
		host:     address.Hostname(),
		server:   serverURL,
		headers:  commonHeaders(product, address.Hostname()),
		timeout:  cmp.Or(o.Timeout, DefaultTimeout),
		warnings: warnings{warn: o.Warn},
		jitter:   o.Jitter,
	}
	dialJitter := 0.0 // gRPC's own luck takes no seed
	if o.Jitter == nil {
		c.jitter, dialJitter = rand.Float64, 0.2
	}
	var dial []grpc.DialOption
	if o.Dial != nil {
		dial = append(dial, grpc.WithContextDialer(o.Dial))
	}
	c.conn, err = grpc.NewClient("dns:///"+address.Host, append(dial,
		grpc.WithTransportCredentials(watched{transport}),
		grpc.WithUserAgent(product),
		grpc.WithUnaryInterceptor(c.intercept),
		grpc.WithStatsHandler(answers{}),
		grpc.WithMaxHeaderListSize(maxAnswer),
		// gRPC's own pool holds a frame of 5 KB in a buffer of 16 KB.
		experimental.WithBufferPool(mem.NopBufferPool{}),
		// The retry policy is this package's, not a DNS record's.
		grpc.WithDisableServiceConfig(),
		// Modal's Go SDK v0.11.1, client.go.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		// gRPC's own defaults would keep failing for up to two minutes after Modal is back, and a
		// retry after a tenth of a second would not even dial.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryBase, Multiplier: 2, Jitter: dialJitter, MaxDelay: 5 * time.Second},
			MinConnectTimeout: c.timeout,
		}),
	)...)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to %s failed: %w", c.host, err)
	}
	c.stub = pb.NewModalClientClient(c.conn)
	return c, nil
}

// Close ends the connection; calls under way and later ones fail.
func (c *Client) Close() error {
	return c.conn.Close()
}

// checkProxy returns an error, meant for the operator, when the environment has a proxy URL for the server
// that cannot be read. The packages net/http and grpc-go drop such a proxy and connect to the server directly.
func checkProxy(server *url.URL) error {
	environment := httpproxy.FromEnvironment()
	if environment.HTTPSProxy == "" {
		return nil
	}
	target := &url.URL{Scheme: "https", Host: server.Host} // as grpc-go asks (internal/resolver/delegatingresolver)
	given, _ := environment.ProxyFunc()(target)
	environment.HTTPSProxy = "http://proxy.invalid"
	// The server may need no proxy: it is in NO_PROXY, or on this machine.
	wanted, _ := environment.ProxyFunc()(target)
	// The host is "http:" if the password has a "/" or "#" that is not escaped.
	if wanted != nil && (given == nil || given.Host == "" || strings.HasSuffix(given.Host, ":")) {
		return errBadProxy
	}
	return nil
}

// errBadProxy does not repeat the URL, which may hold a password.
var errBadProxy = errors.New("the proxy URL in the environment variable HTTPS_PROXY of the Vault server cannot be read, so Modal was not called: " +
	"write it as http://user:password@host:port, with special characters in user and password percent-escaped (%25 for %), and restart Vault")

func transportCredentials(scheme, caCert string) (credentials.TransportCredentials, error) {
	// A certificate that plain text would ignore is still checked: it may matter after the next change.
	roots, err := certPool(caCert)
	if err != nil {
		return nil, err
	}
	if scheme == "http" {
		return insecure.NewCredentials(), nil
	}
	return credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), nil
}

// commonHeaders are those of every call (Modal's Go SDK v0.11.1, client.go). Its x-modal-auth-token
// is left out: Modal's Python client v1.5.4 sends that one only to the input plane, never to the
// control plane, and it would cost a second call.
func commonHeaders(product, host string) []string {
	return []string{
		"x-modal-client-type", strconv.Itoa(int(pb.ClientType_CLIENT_TYPE_LIBMODAL_GO)),
		"x-modal-client-version", "1.0.0",
		"x-modal-libmodal-version", product,
		"x-modal-host", host,
	}
}
