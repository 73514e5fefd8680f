// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// identify answers with a new identity token. Each field of the form replaces the claim of its name, except workspace
// and expires_in.
func (p *page) identify(w http.ResponseWriter, r *http.Request) {
	token, err := p.identityToken(r)
	if err != nil {
		fail(w, r, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, token+"\n") //nolint:gosec // a signed token in plain text, which no browser runs
}

func (p *page) identityToken(r *http.Request) (string, error) {
	workspace, err := p.workspace(r)
	if err != nil {
		return "", fmt.Errorf("create an identity token: %w", err)
	}
	lifetime := modaltest.IdentityLifetime
	claims := map[string]string{}
	for name := range r.Form {
		switch value := r.FormValue(name); name {
		case "workspace":
		case "expires_in":
			if lifetime, err = time.ParseDuration(value); err != nil {
				return "", fmt.Errorf("create an identity token: expires_in is %q, want a duration, for example 12h or -1h", value)
			}
		default:
			claims[name] = value
		}
	}
	return p.issuer.Sign(workspace, lifetime, claims)
}
