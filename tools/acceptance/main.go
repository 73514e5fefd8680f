// SPDX-License-Identifier: MPL-2.0

// Command acceptance checks the assumptions of docs/modal.md against the real Modal. It creates service users and a
// token for that and deletes them again. It prints a report without names, IDs or secrets.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func main() {
	// Clean up at Modal also if the terminal closes or the reader of a pipe goes away.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	err := run(ctx, os.Getenv, time.Minute, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// run makes the report. life is the lifetime of the token that run lets expire. The error says that a row is wrong,
// or that objects of this run still exist at Modal.
func run(ctx context.Context, getenv func(string) string, life time.Duration, stdin io.Reader, report, progress io.Writer) error {
	own, _, err := modalapi.ParseToken(getenv("MODAL_TOKEN_ID"), getenv("MODAL_TOKEN_SECRET"))
	if err != nil {
		return fmt.Errorf("read MODAL_TOKEN_ID and MODAL_TOKEN_SECRET: %w", err)
	}
	serverURL, issuer := getenv("MODAL_SERVER_URL"), getenv("ACCEPTANCE_ISSUER")
	if issuer == "" && serverURL == "" {
		issuer = modalsIssuer
	}
	if getenv("CI") != "" && (!isLocal(serverURL) || issuer != "" && !isLocal(issuer)) {
		return errors.New("do not run this in CI: run it by hand, or against the emulator")
	}
	client, err := modalapi.New(modalapi.Options{ServerURL: serverURL, Timeout: 45 * time.Second, Version: "acceptance"})
	if err != nil {
		return err
	}
	defer client.Close()
	who, err := client.WhoAmI(ctx, own)
	if err != nil {
		return fmt.Errorf("ask Modal whose token this is: %w", err)
	}
	t := &trial{
		client: client, own: own, who: who, life: life, progress: progress, started: time.Now().Add(-auditEarly),
		prefix: "vault-acceptance-" + strings.ToLower(rand.Text()[:8]) + "-", findings: map[string]finding{},
		browser: who.Kind == modalapi.IdentityUser && getenv("ACCEPTANCE_BROWSER") != "no",
		issuer:  issuer, identity: strings.TrimSpace(getenv("MODAL_IDENTITY_TOKEN")),
	}
	if err = t.consent(ctx, getenv("ACCEPTANCE"), stdin); err != nil {
		return err
	}
	left := t.all(ctx)
	if ctx.Err() != nil {
		return errors.Join(errors.New("stopped before the report was complete"), left)
	}
	if err = t.report(report); err != nil {
		return err
	}
	return errors.Join(left, t.judgement())
}

// isLocal reports whether an address is the emulator's.
func isLocal(address string) bool { return strings.HasPrefix(address, "http://127.0.0.1:") }

// consent explains the run and asks for yes, unless the environment says yes.
func (t *trial) consent(ctx context.Context, given string, stdin io.Reader) error {
	t.say(`In the workspace %s, with the token of %s, this`, t.who.WorkspaceName, t.who.Name)
	if t.issuer != "" {
		t.say(`  reads    the public keys of the issuer %s,`, t.issuer)
	}
	t.say(`  makes    up to 6 service users called %s…, one with a role of viewer in one environment,
  deletes  them again, also when something fails on the way, and nothing else;`, t.prefix)
	if t.browser {
		t.say(`  asks     you to approve one new token in your browser, which it deletes (ACCEPTANCE_BROWSER=no: it does not).`)
	}
	t.say(`  reads    the members, the custom roles and the last minutes of the audit log, as far as the token may;`)
	t.say(`  takes    some %s and prints a report without names, IDs or secrets.`, 2*t.life+time.Minute)
	if given == "yes" {
		return nil
	}
	t.say("Continue? Type yes (or set ACCEPTANCE=yes):")
	answered := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(stdin).ReadString('\n') // an unreadable answer is not yes
		answered <- answer
	}()
	var answer string
	select {
	case answer = <-answered:
	case <-ctx.Done():
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("the run created nothing, because the answer was not yes")
	}
	return nil
}
