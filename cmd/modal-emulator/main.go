// SPDX-License-Identifier: MPL-2.0

// Modal-emulator runs the emulated control plane of internal/modaltest for people. A page stands in for Modal's
// dashboard: it creates and deletes tokens, and approves token flows. The page's address is also the issuer of identity
// tokens. All state is in memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "modal-emulator:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// run serves until ctx ends. It prints a line to stdout for each address as soon as the address accepts
// connections, because scripts wait for these lines.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("modal-emulator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	grpcAddress := flags.String("listen", "127.0.0.1:9900", "loopback `address` of the gRPC API")
	pageAddress := flags.String("page", "127.0.0.1:9901", "loopback `address` of the page")
	expiryDeletes := flags.Bool("expiry-deletes", false, "delete service users when they expire")
	behind := flags.Duration("clock-behind", 0, "`duration` by which the emulator's clock is slow, so that everything it creates looks older")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see -help", flags.Arg(0))
	}
	grpcListener, err := listenLoopback(ctx, "-listen", *grpcAddress)
	if err != nil {
		return err
	}
	defer grpcListener.Close()
	pageListener, err := listenLoopback(ctx, "-page", *pageAddress)
	if err != nil {
		return err
	}
	defer pageListener.Close()

	grpcURL, pageURL := "http://"+grpcListener.Addr().String(), "http://"+pageListener.Addr().String()
	if _, err := fmt.Fprintf(stdout, "grpc %s\npage %s\n", grpcURL, pageURL); err != nil {
		return fmt.Errorf("print the addresses: %w", err)
	}
	clock := func() time.Time { return time.Now().Add(-*behind) }
	options := []modaltest.Option{modaltest.WithFlowPage(pageURL), modaltest.WithClock(clock)}
	if *expiryDeletes {
		options = append(options, modaltest.WithExpiryDeletes())
	}
	server := demo(options)
	return serve(ctx, server, newPage(server, grpcURL, pageURL, clock), grpcListener, pageListener)
}

// demo creates the state that the program starts with: a workspace with its owner and a plain user, and a second
// workspace, so that a person can approve as the wrong user.
func demo(options []modaltest.Option) *modaltest.Server {
	server := modaltest.New(options...)
	workspace := server.AddWorkspace("demo")
	workspace.AddEnvironment("staging")
	workspace.AddMember("operator")
	workspace.AddMember("colleague")
	server.AddWorkspace("elsewhere").AddMember("outsider")
	return server
}

func serve(ctx context.Context, server *modaltest.Server, handler http.Handler, grpcListener, pageListener net.Listener) error {
	page := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(grpcListener) })
	group.Go(func() error {
		if err := page.Serve(pageListener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the page: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		server.Close()
		return page.Close()
	})
	return group.Wait()
}

// listenLoopback refuses addresses that other machines can reach, because the page shows secrets and asks for no
// password.
func listenLoopback(ctx context.Context, name, address string) (net.Listener, error) {
	resolved, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !resolved.IP.IsLoopback() {
		return nil, fmt.Errorf("refuse %s %s: use a loopback address, for example 127.0.0.1:0", name, address)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", resolved.String())
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	return listener, nil
}
