// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	modalsIssuer     = "https://oidc.modal.com"
	identityAudience = "oidc.modal.com"
	// identityAlgorithm is the only algorithm that Vault's JWT auth method accepts by default.
	identityAlgorithm = "RS256"
)

// boundClaims are the claims that the login role of docs/how-to/modal-workloads.md uses.
var boundClaims = []string{"workspace_id", "environment_name", "app_name", "function_name", "container_id"}

// identityTokens asks the issuer of identity tokens for its keys, and checks an identity token with them.
func (t *trial) identityTokens(ctx context.Context) {
	if t.issuer == "" {
		t.skip("ACCEPTANCE_ISSUER does not name the issuer of this server", "identity-issuer", "identity-claims", "identity-life")
		return
	}
	keys, err := t.issuerKeys(ctx)
	if err != nil {
		t.find("identity-issuer", false, "%s", err)
		t.skip("the keys of the issuer are not known", "identity-claims", "identity-life")
		return
	}
	t.find("identity-issuer", len(keys) > 0, "it named itself, and %d keys for %s", len(keys), identityAlgorithm)
	if t.identity == "" {
		t.skip("MODAL_IDENTITY_TOKEN has no identity token", "identity-claims", "identity-life")
		return
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(t.identity, claims, func(token *jwt.Token) (any, error) {
		if key := keys[fmt.Sprint(token.Header["kid"])]; key != nil {
			return key, nil
		}
		return nil, errors.New("the issuer does not name its key")
	}, jwt.WithValidMethods([]string{identityAlgorithm}), jwt.WithIssuer(t.issuer), jwt.WithAudience(identityAudience),
		jwt.WithIssuedAt(), jwt.WithExpirationRequired())
	if err != nil {
		t.find("identity-claims", false, "%s", err)
		t.skip("the identity token is not valid", "identity-life")
		return
	}
	missing := slices.DeleteFunc(slices.Clone(boundClaims), func(name string) bool {
		text, _ := claims[name].(string)
		return text != ""
	})
	same := claims["workspace_id"] == t.who.WorkspaceID
	t.find("identity-claims", len(missing) == 0 && same, "missing claims: %d%s; workspace_id is the workspace of the account token: %t",
		len(missing), in(missing), same)
	issued, _ := claims.GetIssuedAt()
	expires, _ := claims.GetExpirationTime()
	if issued == nil {
		t.skip("the identity token does not say when it was issued", "identity-life")
		return
	}
	t.learn("identity-life", "%s from iat to exp", expires.Sub(issued.Time))
}

// in returns the names in parentheses.
func in(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// issuerKeys follows the discovery document to the issuer's keys for RS256.
func (t *trial) issuerKeys(ctx context.Context) (map[string]*rsa.PublicKey, error) {
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := fetch(ctx, t.issuer+"/.well-known/openid-configuration", &discovery); err != nil {
		return nil, fmt.Errorf("read the discovery document: %w", err)
	}
	if discovery.Issuer != t.issuer {
		return nil, errors.New("the discovery document names another issuer")
	}
	var set struct {
		Keys []struct{ Kty, Use, Alg, Kid, N, E string }
	}
	if err := fetch(ctx, discovery.Keys, &set); err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, key := range set.Keys {
		if key.Kty != "RSA" || key.Use != "" && key.Use != "sig" || key.Alg != "" && key.Alg != identityAlgorithm {
			continue
		}
		n, errN := base64.RawURLEncoding.DecodeString(key.N)
		e, errE := base64.RawURLEncoding.DecodeString(key.E)
		if errN == nil && errE == nil && len(e) <= 4 {
			keys[key.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		}
	}
	return keys, nil
}

// fetch reads a JSON document of the issuer.
func fetch(ctx context.Context, address string, document any) error {
	const limit = 1 << 20
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // nothing to do about an error
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer was %s", resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, limit)).Decode(document)
}
