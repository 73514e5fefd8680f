// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// IdentityLifetime is the lifetime of an identity token. Assumed: 48 hours, as in the example of Modal's guide.
const IdentityLifetime = 48 * time.Hour

// The paths of the issuer. Modal documents the first path. The second path was seen in Modal's discovery document.
const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/.well-known/jwks.json"
)

// identityAudience is the audience of every identity token.
const identityAudience = "oidc.modal.com"

// identityKeyID names the signing key. Modal's key is named after a day too.
const identityKeyID = "2026-11-30"

// IdentityIssuer emulates https://oidc.modal.com. The issuer signs identity tokens, which Modal gives each container
// in MODAL_IDENTITY_TOKEN. The claims are those of Modal's guide.
type IdentityIssuer struct {
	url string
	now func() time.Time
	key func() *rsa.PrivateKey // created for the first use, because that takes a moment
}

// NewIdentityIssuer returns an issuer with a key of its own. The URL is the address at which the caller serves it.
func NewIdentityIssuer(url string, now func() time.Time) *IdentityIssuer {
	return &IdentityIssuer{url: url, now: now, key: sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(fmt.Sprintf("modaltest: create the issuer's key: %v", err))
		}
		return key
	})}
}

// ServeHTTP answers with the discovery document and with the public key.
func (i *IdentityIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var document any
	switch r.URL.Path {
	case discoveryPath:
		document = map[string]any{
			"issuer":                                i.url,
			"jwks_uri":                              i.url + keysPath,
			"subject_types_supported":               []string{"public"},
			"response_types_supported":              []string{"id_token"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
			"scopes_supported":                      []string{"openid"},
		}
	case keysPath:
		public := i.key().PublicKey
		encode := base64.RawURLEncoding.EncodeToString
		document = map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": identityKeyID,
			"n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes()),
		}}}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

// Sign returns the identity token of a container. The claims replace those of a container in the workspace's default
// environment. An empty claim is left out.
func (i *IdentityIssuer) Sign(w *Workspace, lifetime time.Duration, claims map[string]string) (string, error) {
	texts := w.identityClaims()
	maps.Copy(texts, claims)
	if _, given := claims["sub"]; !given {
		texts["sub"] = identitySubject(texts)
	}
	expires := i.now().Add(lifetime)
	signed := jwt.MapClaims{
		"iss": i.url, "aud": identityAudience, "jti": uuid.NewString(),
		"iat": jwt.NewNumericDate(expires.Add(-IdentityLifetime)), "exp": jwt.NewNumericDate(expires),
	}
	for name, text := range texts {
		switch {
		case name == "iat" || name == "exp":
			return "", errors.New("sign an identity token: iat and exp follow from the lifetime")
		case text == "":
			delete(signed, name)
		default:
			signed[name] = text
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, signed)
	token.Header["kid"] = identityKeyID
	return token.SignedString(i.key())
}

// identityClaims returns the claims of a container of the app train, in the default environment.
func (w *Workspace) identityClaims() map[string]string {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	return map[string]string{
		"workspace_id": w.id, "environment_id": w.environments[0].id, "environment_name": w.environments[0].name,
		"app_id": randomID("ap-"), "app_name": "train", "function_id": randomID("fu-"), "function_name": "train",
		"container_id": randomID("ta-"),
	}
}

// identitySubject joins the names and values of the claims, as Modal does.
func identitySubject(claims map[string]string) string {
	subject := []string{"modal"}
	for _, name := range []string{"workspace_id", "environment_name", "app_name", "function_name", "container_id"} {
		subject = append(subject, name, claims[name])
	}
	return strings.Join(subject, ":")
}
