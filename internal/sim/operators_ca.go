// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// certificates are the certificates of private CAs in PEM. They are empty in a run without TLS.
type certificates struct {
	// server signed the certificate of the other server. another signed the certificate of no server.
	server, another string
}

// newCertificates returns the CAs of a run whose other server speaks TLS.
func newCertificates(server *modaltest.Server) certificates {
	return certificates{server.CACert(), modaltest.New(modaltest.WithTLS()).CACert()}
}

// caOf returns the ca_cert that config needs for a server, or nil in a run without TLS.
func (run *Run) caOf(url string) *string {
	switch {
	case run.cas.server == "":
		return nil
	case url == run.otherModal.URL():
		return ptr(run.cas.server)
	}
	return ptr("")
}

// changeCA lets an operator add a CA to ca_cert or remove it again, with the present admin token, as for the renewal of
// a CA. Sometimes the operator leaves out the CA that the server needs.
func (run *Run) changeCA() {
	if run.disk.truth().server != run.otherModal.URL() {
		run.switchServer()
		run.check()
	}
	t := run.disk.truth()
	if t.server != run.otherModal.URL() || t.admin.ID == "" {
		return // the switch failed
	}
	bundle := []string{run.cas.server + run.cas.another, run.cas.server, run.cas.another}[run.roll("ca_cert", 3)]
	c := Config{CACert: &bundle, Admin: &Token{t.admin.ID, t.admin.Secret}, Force: run.roll("force", 2) == 1}
	if run.conditions.Overlap {
		c.ServerURL = ptr(run.otherModal.URL()) // another write may change the server before this one begins
	}
	run.logf("write config: %s", c)
	op := &operation{what: "change the CA", config: &c}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		err := e.WriteConfig(ctx, c)
		if before := run.storageBefore(op); err == nil && before != nil {
			run.checkCA(c, before)
		}
		return err
	}))
	if run.roll("the mount works under the new CA", 2) == 1 {
		run.passTime(time.Hour)
	}
}

// checkCA expects config to accept only a ca_cert that fits the server, and to accept a new CA without force only if no
// other token could then go to another server.
func (run *Run) checkCA(c Config, before *truth) {
	if !strings.Contains(*c.CACert, run.cas.server) {
		run.broken("config accepted a ca_cert under which the server cannot have accepted the admin token")
	}
	if c.Force || before.server != run.otherModal.URL() || *c.CACert == before.ca || strings.Contains(before.ca, *c.CACert) {
		run.report.count("a CA is changed")
		return
	}
	for _, role := range before.names() {
		if current := before.current[role]; current.Server == before.server && current.ID != before.admin.ID {
			run.broken("config accepted another CA without force, although role %s has token %s of that server", role, current.ID)
		}
	}
}
