// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// workloadsPage explains how a Modal Function logs in to Vault.
const workloadsPage = "docs/how-to/modal-workloads.md"

// workload is the Function of examples/modal on a Vault that the page's commands have set up. Vault's JWT auth method
// is an external plugin there.
type workload struct {
	*world
	interpreter string
}

func newWorkload(t *testing.T) *workload {
	t.Helper()
	w := newWorld(t)
	command, err := tools.ExampleProgram(w.ctx, "python")
	if err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "CI must be able to install Modal's Python client: %v", err)
		t.Skipf("Modal's Python client can't be installed here, so workloads are NOT TESTED: %v", err)
	}
	w.haveConfig(t, true)
	w.vault(t, "write", "modal/roles/job", "type=dynamic", "environment_roles=main=viewer", "ttl=30m", "max_ttl=2h",
		"service_user_name_template={{.RoleName}}-{{.DisplayName}}")
	method, err := tools.BuildJWTPlugin(w.ctx)
	require.NoError(t, err)
	w.vault(t, method.RegisterArgs()...)

	setup := exec.CommandContext(w.ctx, "bash", "-euxo", "pipefail", "-c", strings.Join(readGuide(t, []string{workloadsPage}).commands, ""))
	setup.Dir = ".."
	setup.Env = w.program(t, w.Token, "true").Env
	setup.Env = append(setup.Env, "ISSUER="+w.emulator.Page)
	said, err := setup.CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	require.Regexp(t, `(?m)^jwt-modal/ +jwt .* `+regexp.QuoteMeta(method.Version)+` +`+regexp.QuoteMeta(method.Version)+` +`+method.SHA256,
		w.vault(t, "auth", "list", "-detailed"), "Vault must run the external plugin")
	return &workload{w, command[0]}
}

// identity returns an identity token of the issuer, for the given claims.
func (w *workload) identity(t *testing.T, issuer *lab.Emulator, claims map[string]string) string {
	t.Helper()
	token, err := issuer.IdentityToken(w.ctx, claims)
	require.NoError(t, err)
	return token
}

// run runs the Function's body as one of Modal's containers does: with an identity token, and with variables that Modal's
// client ignores there.
func (w *workload) run(t *testing.T, identity string) (said string, err error) {
	t.Helper()
	folder, err := filepath.Abs("../examples/modal")
	require.NoError(t, err)
	ignored := w.newToken(t)
	program := w.program(t, "", w.interpreter, "-c", "import train; train.train.local()")
	program.Env = append(program.Env, "PYTHONPATH="+folder, "PYTHONDONTWRITEBYTECODE=1", "MODAL_IS_REMOTE=1",
		"MODAL_TOKEN_ID="+ignored.ID, "MODAL_TOKEN_SECRET="+ignored.Secret)
	if identity != "" {
		program.Env = append(program.Env, "MODAL_IDENTITY_TOKEN="+identity)
	}
	output, err := program.CombinedOutput()
	said = string(output)
	t.Logf("the Function printed:\n%s", lab.Mask(said))
	require.Equal(t, lab.Mask(said), said, "the Function prints a secret")
	if identity != "" {
		require.NotContains(t, said, identity, "the Function prints its identity")
	}
	require.Empty(t, w.listings(t)[ignored.ID], "the Function uses the token of the environment")
	return said, err
}

func TestWorkloads_FunctionWorksWithATokenThatEndsWithIt(t *testing.T) {
	t.Parallel()
	w := newWorkload(t)
	said, err := w.run(t, w.identity(t, w.emulator, nil))
	require.NoError(t, err)
	lines := regexp.MustCompile(`^train has (ak-\w+)\ntrain sees main\n$`).FindStringSubmatch(said)
	require.Len(t, lines, 2, said)
	require.Equal(t, []string{"OK"}, w.listings(t)[lines[1]], "Modal accepts the Function's token")
	require.NoError(t, lab.Until(w.ctx, "the token's end", w.noServiceUser))
}

// noServiceUser returns an error while Modal has a service user.
func (w *workload) noServiceUser() error {
	state, err := w.emulator.State(w.ctx)
	if err == nil && len(state.ServiceUsers) > 0 {
		err = os.ErrExist
	}
	return err
}

func TestWorkloads_ContainersOfAnAppAreOneEntityAndKeepTheirNames(t *testing.T) {
	t.Parallel()
	w := newWorkload(t)
	entities, containers := map[any]bool{}, map[any]bool{}
	for range 3 {
		login := w.vault(t, "write", "-field=token", "auth/jwt-modal/login", "role=train", "jwt="+w.identity(t, w.emulator, nil))
		self := parse(t, w.vault(t, "token", "lookup", "-format=json", login))
		entities[self["entity_id"]] = true
		require.Equal(t, "jwt-modal-train", self["display_name"])
		metadata := self["meta"].(map[string]any)
		require.Equal(t, "train", metadata["function_name"])
		containers[metadata["container_id"]] = true

		lease, err := w.As(login).Run(w.ctx, "", "read", "-field=token_id", "modal/creds/job")
		require.NoError(t, err)
		found := parse(t, w.vault(t, "write", "-format=json", "modal/lookup", "token_id="+lease.Stdout))
		require.Regexp(t, `^vault-[0-9a-f]{8}-job-jwt-modal-train-`, found["service_user"])
		w.vault(t, "token", "revoke", login)
	}
	require.Len(t, entities, 1)
	require.Len(t, containers, 3)
}

func TestWorkloads_AnyOtherIdentityIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	w := newWorkload(t)
	page, err := os.ReadFile(filepath.Join("..", workloadsPage))
	require.NoError(t, err)
	foreign := newLab(t).emulator
	workspace := w.read(t, "modal/config")["workspace_id"].(string)

	of := func(issuer *lab.Emulator, claims map[string]string) string { return w.identity(t, issuer, claims) }
	for _, try := range []struct{ name, identity, reason string }{
		{"workspace", of(w.emulator, map[string]string{"workspace": "elsewhere"}), `claim "workspace_id" does not match`},
		{"environment", of(w.emulator, map[string]string{"environment_name": "staging"}), `claim "environment_name" does not match`},
		{"app", of(w.emulator, map[string]string{"app_name": "serve"}), `claim "app_name" does not match`},
		{"expired", of(w.emulator, map[string]string{"expires_in": "-1h"}), `invalid expiration time (exp) claim: token is expired`},
		{"audience", of(w.emulator, map[string]string{"aud": "sts.amazonaws.com"}), `invalid audience (aud) claim: audience claim does not match any expected audience`},
		{"issuer", of(w.emulator, map[string]string{"iss": "https://oidc.modal.com"}), `invalid issuer (iss) claim`},
		{"signature", of(foreign, map[string]string{"iss": w.emulator.Page, "workspace_id": workspace}), `failed to verify id token signature`},
		{"none", "", `KeyError: 'MODAL_IDENTITY_TOKEN'`},
	} {
		t.Run(try.name, func(t *testing.T) {
			t.Parallel()
			said, err := w.run(t, try.identity)
			require.Error(t, err)
			require.Contains(t, said, try.reason)
			require.Contains(t, string(page), "`"+try.reason, "the page must explain the message")
			require.Empty(t, w.noServiceUser())
		})
	}

	t.Run("policy", func(t *testing.T) {
		t.Parallel()
		w.vault(t, "policy", "write", "modal-workload", w.example(t, "policies/reader.hcl"))
		said, err := w.run(t, of(w.emulator, nil))
		require.Error(t, err)
		require.Contains(t, said, "permission denied")
		require.Contains(t, said, "/v1/modal/creds/job")
	})
}
