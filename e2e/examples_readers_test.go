// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/hashicorp/hcl"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-modal/e2e/lab"
)

// Some programs cannot run here. Each test below does what such a program does: it reads the paths that the
// example names, with the policy that the documentation gives. Then it compares the result with the token.

// environmentOf returns the environment variables that the role ci must give.
func (w *world) environmentOf(token lab.Token) map[string]string {
	return map[string]string{
		"MODAL_TOKEN_ID": token.ID, "MODAL_TOKEN_SECRET": token.Secret, "MODAL_ENVIRONMENT": "main", "MODAL_SERVER_URL": w.emulator.URL,
	}
}

// requireEnvironment compares environments without showing a secret.
func requireEnvironment(t *testing.T, want, got map[string]string) {
	t.Helper()
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
	for name, value := range want {
		requireSecret(t, value, got[name])
	}
}

// texts returns the answer of a path. All values must be texts.
func (w *world) texts(t *testing.T, cli lab.CLI, path string) map[string]string {
	t.Helper()
	result := w.run(t, cli, "", "read", "-format=json", path)
	require.NoError(t, result.Err(), path)
	all := map[string]string{}
	for key, value := range parse(t, result.Stdout) {
		text, ok := value.(string)
		require.True(t, ok, "%s of %s is %T", key, path, value)
		all[key] = text
	}
	return all
}

// documents returns the YAML documents of an example.
func documents[T any](t *testing.T, name string) []T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", name))
	require.NoError(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var all []T
	for {
		var one T
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err, name)
		all = append(all, one)
	}
}

func TestExamples_CIMasksOnlyTheTokenAndReadsItOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "environment=main")
	everything, env := w.As(w.tokenOf(t, "reader.hcl")), w.As(w.tokenOf(t, "reader-env.hcl"))
	file := w.As(w.tokenOf(t, "reader-toml.hcl"))
	secrets := map[string]string{"MODAL_TOKEN_ID": token.ID, "MODAL_TOKEN_SECRET": token.Secret}
	plain := map[string]string{"MODAL_ENVIRONMENT": "main"}

	github := githubJob(t, "github-actions.yml")
	requireEnvironment(t, secrets, w.vaultAction(t, env, github.login(t)))
	require.Equal(t, plain, github.Env)

	// GitLab Runner joins engine path and path and reads one field. It writes a file unless told otherwise.
	// The runner masks the file's whole text, but no single line of it.
	secret := gitlabSecret(t)
	require.Equal(t, "generic", secret.Vault.Engine.Name)
	config := filepath.Join(w.lab.Dir, "gitlab.toml")
	answer := w.run(t, file, "", "read", "-format=json", path.Join(secret.Vault.Engine.Path, secret.Vault.Path))
	require.NoError(t, answer.Err())
	text := fmt.Sprint(parse(t, answer.Stdout)[secret.Vault.Field])
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	require.NoError(t, w.authenticate(t, config).Err())

	// Jenkins reads one path of KV version 1, which is a plain read, and a field for each variable. The
	// plugin masks all fields.
	jenkins, err := os.ReadFile("../examples/Jenkinsfile")
	require.NoError(t, err)
	paths := regexp.MustCompile(`path: '([^']+)', engineVersion: 1`).FindAllSubmatch(jenkins, -1)
	require.Len(t, paths, 1)
	creds := parse(t, w.run(t, everything, "", "read", "-format=json", string(paths[0][1])).Stdout)
	masked := map[string]string{}
	for _, match := range regexp.MustCompile(`envVar: '(\w+)', vaultKey: '(\w+)'`).FindAllSubmatch(jenkins, -1) {
		masked[string(match[1])] = fmt.Sprint(creds[string(match[2])])
	}
	requireEnvironment(t, secrets, masked)
	literal := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^ +([A-Z_]+) = '(\w+)'$`).FindAllSubmatch(jenkins, -1) {
		literal[string(match[1])] = string(match[2])
	}
	require.Equal(t, plain, literal)
}

// envconsul (0.13) reads the path and makes a variable of each key. With no_prefix the variable has the key's
// name.
func TestExamples_EnvconsulMakesOnlyTheVariablesOfOneToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "environment=main")
	var config struct {
		Secret struct {
			Path     string `hcl:"path"`
			NoPrefix bool   `hcl:"no_prefix"`
		} `hcl:"secret"`
	}
	require.NoError(t, hcl.Decode(&config, w.text(t, w.example(t, "envconsul.hcl"))))
	require.True(t, config.Secret.NoPrefix)
	requireEnvironment(t, w.environmentOf(token), w.texts(t, w.As(w.tokenOf(t, "reader-env.hcl")), config.Secret.Path))
}

// workflowJob is a job of GitHub Actions.
type workflowJob struct {
	Env   map[string]string
	Steps []workflowStep
}

type workflowStep struct {
	ID            string
	Uses, Run, If string
	With          map[string]any
	Env           map[string]string
}

// login returns the step that logs in to Vault. It comes after every installation, and all actions are pinned to a
// commit.
func (j workflowJob) login(t *testing.T) (login workflowStep) {
	t.Helper()
	for _, step := range j.Steps {
		if step.Uses != "" {
			require.Regexp(t, `@[0-9a-f]{40}$`, step.Uses)
		}
		if strings.Contains(step.Run, "pip install") {
			require.Regexp(t, `==[0-9.]+$`, step.Run, "a package must have a fixed version")
			require.Empty(t, login.Uses, "a package must be installed before the job has a secret")
		}
		if strings.HasPrefix(step.Uses, "hashicorp/vault-action@") {
			login = step
		}
	}
	require.Equal(t, "vault", login.ID)
	require.Equal(t, false, login.With["exportEnv"], "only the steps that need the token may have it")
	require.NotContains(t, login.With, "exportToken")
	for _, step := range j.Steps {
		for name, value := range step.Env {
			if strings.HasPrefix(name, "MODAL_TOKEN_") {
				require.Equal(t, "${{ steps.vault.outputs."+name+" }}", value)
				require.Equal(t, "modal deploy app.py", step.Run)
			}
		}
	}
	return login
}

// githubJob returns the only job of a workflow among the examples.
func githubJob(t *testing.T, name string) workflowJob {
	t.Helper()
	type workflow struct{ Jobs map[string]workflowJob }
	jobs := documents[workflow](t, name)[0].Jobs
	require.Len(t, jobs, 1)
	return jobs["deploy"]
}

// vaultAction does what a step of hashicorp/vault-action 3 does. The step lists "<path> <key>" between
// semicolons. The action reads each path once, exports each value under the key's name, and masks each value
// in the job's log.
func (w *world) vaultAction(t *testing.T, cli lab.CLI, step workflowStep) (masked map[string]string) {
	t.Helper()
	require.True(t, strings.HasPrefix(step.Uses, "hashicorp/vault-action@"))
	answers := map[string]map[string]string{}
	masked = map[string]string{}
	for request := range strings.SplitSeq(step.With["secrets"].(string), ";") {
		words := strings.Fields(request)
		if len(words) == 0 {
			continue
		}
		require.Len(t, words, 2)
		if answers[words[0]] == nil {
			answers[words[0]] = w.texts(t, cli, words[0])
		}
		require.Contains(t, answers[words[0]], words[1], "the answer must have the key: the action fails without it")
		masked[words[1]] = answers[words[0]][words[1]]
	}
	require.Len(t, answers, 1, "the step must read one path: two reads may return parts of two tokens")
	return masked
}

// vaultSecret is an entry of a job's secrets in GitLab.
type vaultSecret struct {
	File  bool
	Vault struct {
		Engine      struct{ Name, Path string }
		Path, Field string
	}
}

// gitlabSecret returns the only secret of the job.
func gitlabSecret(t *testing.T) vaultSecret {
	t.Helper()
	type job struct{ Secrets map[string]vaultSecret }
	secrets := documents[map[string]job](t, "gitlab-ci.yml")[0]["deploy"].Secrets
	require.Len(t, secrets, 1)
	require.True(t, secrets["MODAL_CONFIG_PATH"].File)
	return secrets["MODAL_CONFIG_PATH"]
}

// manifest is the part of an object of Vault Secrets Operator that says which paths the operator reads and how it
// renders them.
type manifest struct {
	Kind string
	Spec struct {
		Mount, Path, Method string
		Params              map[string]string
		Destination         struct {
			Transformation struct {
				Templates map[string]struct{ Text string }
			}
		}
	}
}

func TestExamples_VaultSecretsOperatorMakesASecretOfOneToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "environment=main")
	everything, env := w.As(w.tokenOf(t, "reader.hcl")), w.As(w.tokenOf(t, "reader-env.hcl"))
	var kinds []string
	for _, object := range documents[manifest](t, "vault-secrets-operator.yaml") {
		kinds = append(kinds, object.Kind)
		require.Empty(t, object.Spec.Params, "parameters make the operator write")
		if object.Spec.Path == "" {
			continue
		}
		where := path.Join(object.Spec.Mount, object.Spec.Path)
		templates := object.Spec.Destination.Transformation.Templates
		if len(templates) == 0 {
			requireEnvironment(t, w.environmentOf(token), w.texts(t, env, where))
			continue
		}
		creds := parse(t, w.run(t, everything, "", "read", "-format=json", where).Stdout)
		want := w.environmentOf(token)
		delete(want, "MODAL_SERVER_URL") // Modal's own server needs no URL.
		requireEnvironment(t, want, rendered(t, templates, creds))
	}
	require.Equal(t, []string{"VaultConnection", "VaultAuth", "VaultDynamicSecret", "VaultStaticSecret"}, kinds)
}

// rendered returns the keys that Vault Secrets Operator's templates make of an answer.
func rendered(t *testing.T, templates map[string]struct{ Text string }, creds data) map[string]string {
	t.Helper()
	got := map[string]string{}
	for key, source := range templates {
		parsed, err := template.New(key).Option("missingkey=error").Parse(source.Text)
		require.NoError(t, err)
		var text strings.Builder
		require.NoError(t, parsed.Execute(&text, map[string]any{"Secrets": creds}))
		got[key] = text.String()
	}
	return got
}

// The Agent injector and Nomad use Vault Agent's template engine, so this test renders their templates with
// an Agent.
func TestExamples_InjectorAndNomadTemplatesRenderOneToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "environment=main")
	folder := w.approle(t, "reader-dotenv.hcl")
	login, _, found := strings.Cut(w.text(t, w.example(t, "agent-file.hcl", "/etc/modal-agent", folder)), "template {")
	require.True(t, found)
	var templates strings.Builder
	for name, source := range map[string]string{"injector": injectorTemplate(t), "nomad": nomadTemplate(t)} {
		fmt.Fprintf(&templates, "template {\n contents = %q\n destination = %q\n error_on_missing_key = true\n}\n",
			source, filepath.Join(w.lab.Dir, name+".out"))
	}
	config := filepath.Join(w.lab.Dir, "templates.hcl")
	require.NoError(t, os.WriteFile(config, []byte(login+templates.String()), 0o600))
	said, err := w.program(t, "", tools.Vault, "agent", "-exit-after-auth", "-config="+config).CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))

	for _, name := range []string{"injector", "nomad"} {
		got := map[string]string{}
		for line := range strings.Lines(w.text(t, filepath.Join(w.lab.Dir, name+".out"))) {
			if variable, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "="); found {
				got[variable] = value
			}
		}
		requireEnvironment(t, w.environmentOf(token), got)
	}
}

// injectorTemplate returns the template in the pod's annotations.
func injectorTemplate(t *testing.T) string {
	t.Helper()
	type deployment struct {
		Spec struct {
			Template struct {
				Metadata struct{ Annotations map[string]string }
			}
		}
	}
	return documents[deployment](t, "agent-injector.yaml")[0].
		Spec.Template.Metadata.Annotations["vault.hashicorp.com/agent-inject-template-modal"]
}

// nomadTemplate returns the data of the job's only template.
func nomadTemplate(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../examples/nomad.hcl")
	require.NoError(t, err)
	var file struct {
		Job map[string]struct {
			Group map[string]struct {
				Task map[string]struct {
					Template struct{ Data string } `hcl:"template"`
				} `hcl:"task"`
			} `hcl:"group"`
		} `hcl:"job"`
	}
	require.NoError(t, hcl.Unmarshal(text, &file))
	return file.Job["app"].Group["app"].Task["app"].Template.Data
}

func (w *world) text(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}
