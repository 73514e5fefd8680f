// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	_ "embed" // for the template
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

//go:embed page.html
var pageHTML string

//go:embed flow.html
var flowHTML string

var pageTemplate, flowTemplate = parse(pageHTML), parse(flowHTML)

func parse(html string) *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"when": func(t time.Time) string {
			if t.IsZero() {
				return "never"
			}
			return t.UTC().Format(time.RFC3339)
		},
	}).Parse(html))
}

// page stands in for Modal's dashboard. Its address is also the issuer of identity tokens.
type page struct {
	server  *modaltest.Server
	issuer  *modaltest.IdentityIssuer
	grpcURL string
	now     func() time.Time
}

// pageView is the template's data. Created is set only right after a creation, the one time when the secret is
// shown.
type pageView struct {
	GRPCURL string
	Tokens  []tokenView
	Flows   []modaltest.FlowInfo
	Created *modaltest.Token
}

// tokenView is a token with the access of its service user.
type tokenView struct {
	modaltest.TokenInfo
	Access string // for example "scoped: main=viewer"; empty for members
}

func tokenViews(server *modaltest.Server) []tokenView {
	access := map[string]string{}
	for _, user := range server.ServiceUsers() {
		access[user.TokenID] = describeAccess(user)
	}
	var views []tokenView
	for _, token := range server.Tokens() {
		views = append(views, tokenView{token, access[token.ID]})
	}
	return views
}

func describeAccess(user modaltest.ServiceUserInfo) string {
	var roles []string
	for environment, role := range user.Roles {
		roles = append(roles, environment+"="+role)
	}
	slices.Sort(roles)
	scope := "not scoped"
	if user.Scoped {
		scope = "scoped"
	}
	if len(roles) == 0 {
		return scope + ", no roles"
	}
	return scope + ": " + strings.Join(roles, ", ")
}

func newPage(server *modaltest.Server, grpcURL, pageURL string, now func() time.Time) http.Handler {
	p := &page{server: server, issuer: modaltest.NewIdentityIssuer(pageURL, now), grpcURL: grpcURL, now: now}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.look)
	mux.HandleFunc("POST /tokens", p.create)
	mux.HandleFunc("POST /tokens/{id}/delete", p.remove)
	mux.HandleFunc("POST /delays", p.delay)
	mux.HandleFunc("POST /outage", p.outage)
	mux.Handle("GET /.well-known/", p.issuer)
	mux.HandleFunc("POST /identity-tokens", p.identify)
	mux.HandleFunc("GET /token-flow/{id}", p.lookAtFlow)
	mux.HandleFunc("POST /token-flow/{id}/approve", p.approve)
	mux.HandleFunc("POST /token-flow/{id}/deny", p.deny)
	return http.NewCrossOriginProtection().Handler(mux)
}

func (p *page) look(w http.ResponseWriter, r *http.Request) {
	if wantsJSON(r) {
		answerJSON(w, http.StatusOK, newStateView(p.server))
		return
	}
	p.show(w, nil)
}

func (p *page) show(w http.ResponseWriter, created *modaltest.Token) {
	view := pageView{GRPCURL: p.grpcURL, Tokens: tokenViews(p.server), Flows: p.server.Flows(), Created: created}
	render(w, pageTemplate, view)
}

func render(w http.ResponseWriter, t *template.Template, view any) {
	var html bytes.Buffer
	if err := t.Execute(&html, view); err != nil {
		http.Error(w, "render the page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = html.WriteTo(w)
}

func (p *page) create(w http.ResponseWriter, r *http.Request) {
	token, err := p.newToken(r)
	if err != nil {
		fail(w, r, http.StatusBadRequest, err)
		return
	}
	if wantsJSON(r) {
		answerJSON(w, http.StatusOK, map[string]string{"token_id": token.ID, "token_secret": token.Secret})
		return
	}
	p.show(w, &token)
}

func (p *page) newToken(r *http.Request) (modaltest.Token, error) {
	options, err := p.expiry(r.FormValue("expires_in"))
	if err != nil {
		return modaltest.Token{}, err
	}
	workspace, err := p.workspace(r)
	if err != nil {
		return modaltest.Token{}, fmt.Errorf("create a token: %w", err)
	}
	switch kind := modaltest.Kind(r.FormValue("kind")); kind {
	case modaltest.KindMember:
		member, err := p.member(r)
		if err != nil {
			return modaltest.Token{}, fmt.Errorf("create a token: %w", err)
		}
		return member.NewToken(options...), nil
	case modaltest.KindServiceUser:
		return workspace.CreateServiceUser(r.FormValue("owner"), options...)
	default:
		return modaltest.Token{}, fmt.Errorf("create a token: kind is %q, want member or service-user", kind)
	}
}

// workspace returns the workspace that the form names.
func (p *page) workspace(r *http.Request) (*modaltest.Workspace, error) {
	workspace := p.server.Workspace(r.FormValue("workspace"))
	if workspace == nil {
		return nil, fmt.Errorf("there is no workspace %q", r.FormValue("workspace"))
	}
	return workspace, nil
}

// member returns the member that the form names.
func (p *page) member(r *http.Request) (*modaltest.Member, error) {
	workspace, err := p.workspace(r)
	if err != nil {
		return nil, err
	}
	member := workspace.Member(r.FormValue("owner"))
	if member == nil {
		return nil, fmt.Errorf("there is no member %q", r.FormValue("owner"))
	}
	return member, nil
}

func (p *page) expiry(in string) ([]modaltest.TokenOption, error) {
	if in == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(in)
	if err != nil || d <= 0 {
		return nil, fmt.Errorf("create a token: expires_in is %q, want a duration, for example 12h", in)
	}
	return []modaltest.TokenOption{modaltest.ExpiresAt(p.now().Add(d))}, nil
}

func (p *page) remove(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !p.server.DeleteToken(id) {
		fail(w, r, http.StatusNotFound, errors.New("delete the token: no token with that ID exists"))
		return
	}
	if wantsJSON(r) {
		answerJSON(w, http.StatusOK, map[string]string{"deleted": id})
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func wantsJSON(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "application/json")
}

func fail(w http.ResponseWriter, r *http.Request, code int, err error) {
	if wantsJSON(r) {
		answerJSON(w, code, map[string]string{"error": err.Error()})
		return
	}
	http.Error(w, err.Error(), code)
}

func answerJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
