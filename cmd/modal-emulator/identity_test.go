// SPDX-License-Identifier: MPL-2.0

package main

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// document reads a document of the issuer.
func (e *emulator) document(t *testing.T, address string, into any) {
	t.Helper()
	path, found := strings.CutPrefix(address, e.pageURL)
	require.True(t, found, address)
	resp := e.get(t, path)
	require.Equal(t, http.StatusOK, resp.code)
	require.NoError(t, json.Unmarshal([]byte(resp.body), into))
}

// issuerKey follows the discovery document to the issuer's key, as Vault does.
func (e *emulator) issuerKey(t *testing.T) *rsa.PublicKey {
	t.Helper()
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	e.document(t, e.pageURL+"/.well-known/openid-configuration", &discovery)
	require.Equal(t, e.pageURL, discovery.Issuer)
	var set struct{ Keys []struct{ N, E string } }
	e.document(t, discovery.Keys, &set)
	require.Len(t, set.Keys, 1)
	modulus, err := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	require.NoError(t, err)
	exponent, err := base64.RawURLEncoding.DecodeString(set.Keys[0].E)
	require.NoError(t, err)
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
}

// claims verifies an identity token and returns its claims.
func (e *emulator) claims(t *testing.T, form map[string]string) (jwt.MapClaims, error) {
	t.Helper()
	resp := e.post(t, "/identity-tokens", form)
	require.Equal(t, http.StatusOK, resp.code, resp.body)
	key, claims := e.issuerKey(t), jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(strings.TrimSpace(resp.body), claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(e.pageURL), jwt.WithAudience("oidc.modal.com"))
	return claims, err
}

func TestIdentityTokens_HaveTheClaimsOfModalsGuide(t *testing.T) {
	t.Parallel()
	e := launch(t)
	claims, err := e.claims(t, nil)
	require.NoError(t, err)
	for _, name := range []string{
		"sub", "aud", "exp", "iat", "iss", "jti", "workspace_id", "environment_id", "environment_name",
		"app_id", "app_name", "function_id", "function_name", "container_id",
	} {
		require.NotEmpty(t, claims[name], name)
	}
	require.Len(t, claims, 14)
	require.Regexp(t, `^modal:workspace_id:ac-\w+:environment_name:main:app_name:train:function_name:train:container_id:ta-\w+$`, claims["sub"])
	require.InDelta(t, 48*60*60, claims["exp"].(float64)-claims["iat"].(float64), 0)
}

func TestIdentityTokens_TakeClaimsAndExpiryFromTheForm(t *testing.T) {
	t.Parallel()
	e := launch(t)
	claims, err := e.claims(t, map[string]string{"environment_name": "staging", "app_name": "serve", "function_name": ""})
	require.NoError(t, err)
	require.Equal(t, "staging", claims["environment_name"])
	require.Equal(t, "serve", claims["app_name"])
	require.NotContains(t, claims, "function_name")
	require.Contains(t, claims["sub"], ":app_name:serve:")

	_, err = e.claims(t, map[string]string{"expires_in": "-1h"})
	require.ErrorIs(t, err, jwt.ErrTokenExpired)
	_, err = e.claims(t, map[string]string{"aud": "sts.amazonaws.com"})
	require.ErrorIs(t, err, jwt.ErrTokenInvalidAudience)
	for _, form := range []map[string]string{{"workspace": "nowhere"}, {"expires_in": "soon"}, {"exp": "1"}} {
		require.Equal(t, http.StatusBadRequest, e.post(t, "/identity-tokens", form).code)
	}
}

func TestIdentityTokens_OfAnotherEmulatorHaveAnotherKey(t *testing.T) {
	t.Parallel()
	require.NotEqual(t, launch(t).issuerKey(t), launch(t).issuerKey(t))
}
