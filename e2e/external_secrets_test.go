// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// cluster is the part of a Kubernetes API that issues a token for the service account app. Vault trusts the key of
// the cluster.
type cluster struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

const (
	serviceAccount = "system:serviceaccount:default:app"
	audience       = "https://kubernetes.default.svc"
)

// newCluster starts the API, and lets its service accounts log in to Vault at auth/kubernetes. The method is jwt,
// because Vault's small build has no kubernetes. Both take the same request.
func (w *world) newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{}
	var err error
	c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(c.key.Public())
	require.NoError(t, err)
	requests := http.NewServeMux()
	requests.HandleFunc("POST /api/v1/namespaces/default/serviceaccounts/app/token", c.issue)
	c.Server = httptest.NewServer(requests)
	t.Cleanup(c.Close)

	w.vault(t, "auth", "enable", "-path=kubernetes", "jwt")
	w.vault(t, "write", "auth/kubernetes/config", "jwt_validation_pubkeys="+string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	return c
}

// issue answers a TokenRequest.
func (c *cluster) issue(out http.ResponseWriter, _ *http.Request) {
	expires := time.Now().Add(10 * time.Minute)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.RegisteredClaims{
		Issuer: audience, Subject: serviceAccount, Audience: jwt.ClaimStrings{audience},
		IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(expires),
	}).SignedString(c.key)
	if err != nil {
		http.Error(out, err.Error(), http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(map[string]any{ // a client that has gone reads no answer
		"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
		"status": map[string]any{"token": signed, "expirationTimestamp": expires.Format(time.RFC3339)},
	})
}

// mayLogIn writes the login role of the manifest, with a policy of the examples and optional fields.
func (w *world) mayLogIn(t *testing.T, policy string, fields ...string) {
	t.Helper()
	w.vault(t, "policy", "write", "modal", filepath.Join("..", "examples", "policies", policy))
	w.vault(t, append([]string{
		"write", "auth/kubernetes/role/eso", "role_type=jwt", "user_claim=sub", "bound_subject=" + serviceAccount,
		"bound_audiences=" + audience, "token_policies=modal",
	}, fields...)...)
}

// logins returns the accessors of the Vault tokens from logins of the cluster.
func (w *world) logins(t *testing.T) (accessors []string) {
	t.Helper()
	for _, accessor := range w.list(t, "auth/token/accessors") {
		found := w.run(t, w.CLI, "", "token", "lookup", "-format=json", "-accessor", accessor)
		if found.Code == 0 && parse(t, found.Stdout)["path"] == "auth/kubernetes/login" {
			accessors = append(accessors, accessor)
		}
	}
	return accessors
}

// operator is External Secrets Operator with the objects of one manifest.
type operator struct {
	intervals io.WriteCloser
	answers   *json.Decoder
}

// refreshed is the outcome of a refresh.
type refreshed struct {
	Data  map[string]string
	State []any // the operator's notes for a later cleanup
	Error string
}

// token returns the Modal token of the Secret.
func (r refreshed) token() lab.Token {
	return lab.Token{ID: r.Data["MODAL_TOKEN_ID"], Secret: r.Data["MODAL_TOKEN_SECRET"]}
}

// newOperator starts the operator with the manifest of the examples, after optional replacements of texts.
func (w *world) newOperator(t *testing.T, c *cluster, set ...string) *operator {
	t.Helper()
	program, err := tools.ExternalSecrets(w.ctx)
	require.NoError(t, err)
	kubeconfig := filepath.Join(w.lab.Dir, "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `{
		"clusters": [{"name": "test", "cluster": {"server": %q}}],
		"contexts": [{"name": "test", "context": {"cluster": "test"}}],
		"current-context": "test"
	}`, c.URL), 0o600))
	cmd := w.program(t, "", program, w.example(t, "external-secrets-operator.yaml",
		append([]string{"https://vault.example.com:8200", w.Addr}, set...)...))
	cmd.Env = slices.DeleteFunc(cmd.Env, func(variable string) bool { return strings.HasPrefix(variable, "VAULT_") })
	cmd.Env = append(cmd.Env, "KUBECONFIG="+kubeconfig)
	intervals, err := cmd.StdinPipe()
	require.NoError(t, err)
	answers, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var said strings.Builder
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = intervals.Close() // possibly closed already
		_ = cmd.Wait()        // the end of the test ends the operator too
		if t.Failed() {
			t.Logf("log of the operator:\n%s", lab.Mask(said.String()))
		}
	})
	return &operator{intervals, json.NewDecoder(answers)}
}

// refresh lets a refreshInterval pass.
func (o *operator) refresh(t *testing.T) (got refreshed) {
	t.Helper()
	_, err := io.WriteString(o.intervals, "\n")
	require.NoError(t, err)
	require.NoError(t, o.answers.Decode(&got), "the operator ended")
	return got
}

// stop ends the operator.
func (o *operator) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, o.intervals.Close())
	var more any
	require.ErrorIs(t, o.answers.Decode(&more), io.EOF)
}

// secret lets a refreshInterval pass. The refresh must succeed.
func (o *operator) secret(t *testing.T) refreshed {
	t.Helper()
	got := o.refresh(t)
	require.Empty(t, got.Error)
	return got
}

func TestExternalSecrets_SecretFollowsARotationAndTheOldTokenStaysValid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "environment=main")
	c := w.newCluster(t)
	w.mayLogIn(t, "reader-env.hcl", "token_type=batch")
	eso := w.newOperator(t, c)
	report := func(when string, secret refreshed) {
		t.Helper()
		w.requireAccepted(t, secret.token())
		t.Logf("%s: the Secret has %s, and Modal accepts the token", when, secret.token())
	}
	first := eso.secret(t)
	t.Logf("the Secret has the keys %s", strings.Join(slices.Sorted(maps.Keys(first.Data)), ", "))
	report("first refresh", first)
	requireEnvironment(t, w.environmentOf(token), first.Data)
	second := eso.secret(t)
	report("second refresh", second)
	requireEnvironment(t, first.Data, second.Data)
	next := w.rotate(t)
	report("after the rotation", second)
	third := eso.secret(t)
	report("third refresh", third)
	requireEnvironment(t, w.environmentOf(next), third.Data)
	require.NotEqual(t, token.ID, next.ID)
	w.requireAccepted(t, token)
	t.Logf("in the grace period: Modal also accepts %s", token)
}

func TestExternalSecrets_SecretHasEachKeyOfTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRole(t)
	c := w.newCluster(t)
	w.mayLogIn(t, "reader.hcl")
	got := w.newOperator(t, c, "/modal/creds/ci/env", "/modal/creds/ci").secret(t)
	require.ElementsMatch(t, slices.Collect(maps.Keys(w.read(t, "modal/creds/ci"))), slices.Collect(maps.Keys(got.Data)))
	require.Contains(t, got.Data, "ttl")
}

// After an error the operator's controller leaves the Secret as it is.
func TestExternalSecrets_AFailedRefreshSaysWhyAndBringsNoData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRole(t)
	c := w.newCluster(t)
	w.mayLogIn(t, "reader-env.hcl")
	eso := w.newOperator(t, c)
	lax := w.newOperator(t, c, "resultType: Data", "resultType: Data\n  allowEmptyResponse: true")
	requireEnvironment(t, eso.secret(t).Data, lax.secret(t).Data)
	fails := func(why string) {
		t.Helper()
		for _, got := range []refreshed{eso.refresh(t), lax.refresh(t)} {
			require.Contains(t, got.Error, why)
			require.Empty(t, got.Data)
		}
	}
	w.vault(t, "delete", "modal/roles/ci")
	fails("no role is named ci")
	w.newRole(t)
	eso.secret(t)
	w.vault(t, "policy", "delete", "modal")
	fails("permission denied")
	w.vault(t, "delete", "auth/kubernetes/role/eso")
	fails(`role "eso" could not be found`)
	w.vault(t, "operator", "seal")
	fails("Vault is sealed")
}

func TestExternalSecrets_EachRefreshTakesALeaseThatOnlyVaultEnds(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t, "max_leases=3") // ttl is 10m
	c := w.newCluster(t)
	w.mayLogIn(t, "job.hcl", "token_ttl=1h")
	eso := w.newOperator(t, c, "/modal/creds/ci/env", "/modal/creds/job/env")

	var tokens []lab.Token
	var logins []string
	for range 3 {
		got := eso.secret(t)
		require.ElementsMatch(t, []string{"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_ENVIRONMENT", "MODAL_SERVER_URL"},
			slices.Collect(maps.Keys(got.Data)))
		require.Empty(t, got.State, "the operator keeps nothing with which it could revoke the lease")
		require.NotContains(t, tokens, got.token())
		login := slices.DeleteFunc(w.logins(t), func(accessor string) bool { return slices.Contains(logins, accessor) })
		require.Len(t, login, 1, "each refresh logs in")
		tokens, logins = append(tokens, got.token()), append(logins, login...)
	}
	full := eso.refresh(t)
	require.Contains(t, full.Error, "max_leases")
	require.Empty(t, full.Data, "the Secret keeps its last token, also when the lease of that token ends")
	eso.stop(t)
	for _, token := range tokens {
		w.requireAccepted(t, token)
	}
	w.vault(t, "token", "revoke", "-accessor", logins[0])
	require.NoError(t, lab.Until(w.ctx, "the lease of the login to end", func() error {
		if users := len(w.state(t).ServiceUsers); users > 2 {
			return fmt.Errorf("%d service users exist", users)
		}
		return nil
	}))
	w.requireRejected(t, tokens[0])
	w.requireAccepted(t, tokens[1])
	w.requireAccepted(t, tokens[2])
}

func TestExternalSecrets_ALeaseEndsNoLaterThanItsLogin(t *testing.T) {
	t.Parallel()
	for kind, stored := range map[string]int{"service": 1, "batch": 0} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newLeaseWorld(t) // ttl is 10m
			c := w.newCluster(t)
			w.mayLogIn(t, "job.hcl", "token_type="+kind, "token_ttl=30s")
			token := w.newOperator(t, c, "/modal/creds/ci/env", "/modal/creds/job/env").secret(t).token()
			w.requireAccepted(t, token)
			require.Len(t, w.logins(t), stored, "Vault stores service tokens, and no batch tokens")
			w.awaitNoUsers(t)
			w.requireRejected(t, token)
		})
	}
}
