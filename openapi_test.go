// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

// document returns the engine's OpenAPI document, requested as Vault does.
func document(t *testing.T, m *mounttest.Mount) *framework.OASDocument {
	t.Helper()
	resp := m.Must(logical.HelpOperation, "", map[string]any{"requestResponsePrefix": "modal"})
	raw, err := jsonutil.EncodeJSON(resp.Data["openapi"])
	require.NoError(t, err)
	doc := &framework.OASDocument{}
	require.NoError(t, jsonutil.DecodeJSON(raw, doc))
	return doc
}

func eachOperation(doc *framework.OASDocument, visit func(path, method string, op *framework.OASOperation)) {
	for path, item := range doc.Paths {
		for method, op := range map[string]*framework.OASOperation{
			http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodDelete: item.Delete,
		} {
			if op != nil {
				visit(path, method, op)
			}
		}
	}
}

func TestOpenAPI_EveryOperationHasAUniqueIDASummaryAndAResponse(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	eachOperation(document(t, mounttest.New(t)), func(path, method string, op *framework.OASOperation) {
		where := method + " " + path
		require.NotEmpty(t, op.OperationID, where)
		require.Empty(t, seen[op.OperationID], "%s has the operation id of %s", where, seen[op.OperationID])
		seen[op.OperationID] = where
		require.True(t, strings.HasPrefix(op.OperationID, "modal-"), op.OperationID)
		require.NotEmpty(t, op.Summary, where)
		require.NotEmpty(t, op.Responses, where)
	})
	require.Len(t, seen, 31)
}

func TestOpenAPI_HasExactlyThePathsOfTheDesign(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, []string{
		"/config", "/roles/", "/roles/{role}", "/creds/{role}", "/creds/{role}/env", "/creds/{role}/dotenv", "/creds/{role}/toml", "/creds/{role}/profile",
		"/rotate/", "/rotate/{role}", "/revocations/", "/revocations/{id}", "/status", "/lookup",
		"/config/rotate", "/config/approval", "/rotate/{role}/approval", "/verify/{role}", "/orphans", "/orphans/",
	}, slices.Collect(maps.Keys(document(t, mounttest.New(t)).Paths)))
}

func TestHelp_CoversEveryPathAndEveryField(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	for _, path := range m.Paths {
		require.NotEmpty(t, path.HelpSynopsis, path.Pattern)
		require.Regexp(t, `\n  vault (read|write|list) .*modal/`, path.HelpDescription, "the help of %s has no example", path.Pattern)
		require.NotEmpty(t, path.DisplayAttrs.OperationSuffix, path.Pattern)
		for name, field := range path.Fields {
			require.NotEmpty(t, field.Description, "%s of %s", name, path.Pattern)
		}
	}
	for path := range document(t, m).Paths {
		path = requestPath(path)
		help, _ := m.Must(logical.HelpOperation, path, nil).Data["help"].(string)
		require.Contains(t, help, "DESCRIPTION", path)
	}
}

// requestPath returns a path that Vault could send, for a path of the OpenAPI document.
func requestPath(documented string) string {
	return strings.NewReplacer("{role}", "ci", "{id}", "ak-x").Replace(strings.Trim(documented, "/"))
}

// helpExample matches a command of a help text: its path below the mount, and its fields.
var helpExample = regexp.MustCompile(`(?m)^  vault (?:read|write|list)(?: -\S+)* modal/(\S+)((?: \w+=\S+)*)$`)

func TestHelp_ExamplesUseThePathAndItsFields(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	for _, path := range m.Paths {
		examples := helpExample.FindAllStringSubmatch(path.HelpDescription, -1)
		require.Len(t, examples, strings.Count(path.HelpDescription, "\n  vault "), path.HelpDescription)
		for _, example := range examples {
			require.Same(t, path, m.Route(example[1]), "%s is an example of another path", example[0])
			for _, pair := range strings.Fields(example[2]) {
				name, _, _ := strings.Cut(pair, "=")
				require.Contains(t, path.Fields, name, example[0])
			}
		}
	}
}

// looksLikeDuration matches the field names whose numbers Vault's command line prints as durations.
var looksLikeDuration = regexp.MustCompile(`^(period|ttl|duration|lease_max|ttl_max)$|_(period|ttl|duration)$`)

func TestResponses_OnlyDurationsHaveNamesThatVaultPrintsAsDurations(t *testing.T) {
	t.Parallel()
	durations := []string{"grace_period", "max_ttl", "rotation_period", "token_ttl", "ttl"}
	for path, fields := range engineFields(t) {
		for _, field := range fields {
			if looksLikeDuration.MatchString(field) {
				require.Contains(t, durations, field, path)
			}
		}
	}
}

// unitRow is a row of docs/api.md's table of durations: fields, an answer, and what Vault's command line shows.
var unitRow = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| `7200` \\| `(2h|7200)` \\|$")

func TestAPIDocument_SaysHowVaultShowsEachDuration(t *testing.T) {
	t.Parallel()
	inUnits, inSeconds := []string{}, []string{"age"} // of key_info, whose fields have no schema
	for _, path := range mounttest.New(t).Paths {
		for _, op := range path.Operations {
			for _, response := range op.Properties().Responses[http.StatusOK] {
				for name, field := range response.Fields {
					written := path.Fields[name]
					switch {
					case (written == nil || written.Type != framework.TypeDurationSecond) && !strings.HasPrefix(field.Description, "Seconds "):
					case looksLikeDuration.MatchString(name):
						inUnits = append(inUnits, name)
					default:
						inSeconds = append(inSeconds, name)
					}
				}
			}
		}
	}
	text, err := os.ReadFile("docs/api.md")
	require.NoError(t, err)
	documented := map[string][]string{}
	for _, row := range unitRow.FindAllStringSubmatch(string(text), -1) {
		documented[row[2]] = strings.Split(strings.ReplaceAll(row[1], "`", ""), ", ")
	}
	require.Equal(t, sorted(map[string][]string{"2h": inUnits, "7200": inSeconds}), documented)
}

func TestSecrets_InputFieldsAreMarkedSensitive(t *testing.T) {
	t.Parallel()
	for _, path := range mounttest.New(t).Paths {
		if field := path.Fields["token_secret"]; field != nil {
			require.True(t, field.DisplayAttrs.Sensitive, path.Pattern)
		}
	}
}

// docs/api.md has one heading per path, `## config`, and one table row per field, `| `server_url` | …`.
var (
	docHeading = regexp.MustCompile("(?m)^## `([^`]+)`")
	docField   = regexp.MustCompile("(?m)^\\| `([A-Za-z_]+)` \\|")
)

func TestAPIDocument_ListsExactlyThePathsAndFields(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/api.md")
	require.NoError(t, err)
	documented := map[string][]string{}
	headings := docHeading.FindAllSubmatchIndex(text, -1)
	for i, at := range headings {
		end := len(text)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		path := string(text[at[2]:at[3]])
		documented[path] = nil
		for _, field := range docField.FindAllSubmatch(text[at[1]:end], -1) {
			documented[path] = append(documented[path], string(field[1]))
		}
	}
	require.Equal(t, engineFields(t), sorted(documented))
}

// engineFields returns the request and response fields of every path in the OpenAPI document.
func engineFields(t *testing.T) map[string][]string {
	t.Helper()
	m := mounttest.New(t)
	fields := map[string][]string{}
	for path := range document(t, m).Paths {
		name := strings.Trim(strings.NewReplacer("{role}", "<role>", "{id}", "<id>").Replace(path), "/")
		route := m.Route(requestPath(path))
		fields[name] = append(fields[name], slices.Collect(maps.Keys(route.Fields))...)
		for _, op := range route.Operations {
			for _, response := range op.Properties().Responses[http.StatusOK] {
				fields[name] = append(fields[name], slices.Collect(maps.Keys(response.Fields))...)
			}
		}
	}
	return sorted(fields)
}

func sorted(fields map[string][]string) map[string][]string {
	for path := range fields {
		slices.Sort(fields[path])
		fields[path] = slices.Compact(fields[path])
	}
	return fields
}
