// SPDX-License-Identifier: MPL-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	pageHeading = regexp.MustCompile("(?m)^#+ (.+)$")
	pageLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	pageFence   = regexp.MustCompile("(?ms)^```.*?^```$")
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// People in a hurry look for these links above the first section.
func TestReadme_LinksEmergenciesAndOperationsAtTheTop(t *testing.T) {
	t.Parallel()
	contents, _, found := strings.Cut(pageText(t, "README.md"), "\n## ")
	require.True(t, found)
	for _, sought := range []string{
		"Leaked token", "Undo", "Upgrade", "Restore", "Uninstall", "Policies", "Alarms", "Network", "Compatibility",
	} {
		require.Regexp(t, `\[`+sought+`\]\([^)]*(?:#|\.md)`, contents)
	}
}

func TestPages_LinksLeadToExistingPagesAndHeadings(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	decisions, err := filepath.Glob("docs/*/*.md")
	require.NoError(t, err)
	pages = append(pages, decisions...)
	known := map[string][]string{}
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md") {
		for _, link := range pageLink.FindAllStringSubmatch(pageFence.ReplaceAllString(pageText(t, page), ""), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
				_, err = os.Stat(target)
				require.NoError(t, err, "%s links to it", page)
			}
			if anchor != "" {
				if known[target] == nil {
					known[target] = anchors(pageText(t, target))
				}
				require.Contains(t, known[target], anchor, "%s links to %s", page, link[1])
			}
		}
	}
}

var (
	pageShell = regexp.MustCompile("(?ms)^```sh[a-z ]*\n(.*?)^```$")
	// redirection matches the file that a command writes, and shellVariable a variable that the command reads.
	redirection   = regexp.MustCompile(`[^<-]> *(\S+)`)
	shellVariable = regexp.MustCompile(`\$\{?([A-Z][A-Z0-9_]*)(:\?)?`)
	// secretArgument matches the first character of a token secret on a command line.
	secretArgument = regexp.MustCompile(`token_secret=(\S?)`)
)

var (
	// ownFile matches the file where Modal's own command line keeps a person's profiles.
	ownFile = regexp.MustCompile(`(?:~|\$HOME|\$\{HOME\})/\.modal\.toml`)
	written = regexp.MustCompile(`vault write (?:-\S+ )*(modal/\S+)`)
	deleted = regexp.MustCompile(`vault delete (modal/\S+)`)
)

// requireOneIntent checks that a pasted block does not reverse its own effect: an undo after a rotation, a cancel after
// the start of an approval, or paused=false after paused=true.
func requireOneIntent(t *testing.T, page, block string) {
	t.Helper()
	if strings.Contains(block, "to_previous=true") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		require.Len(t, lines, 2, page)
		require.Equal(t, lines[1]+" dry_run=true", lines[0], page)
	}
	for _, write := range written.FindAllStringSubmatch(block, -1) {
		for _, remove := range deleted.FindAllStringSubmatch(block, -1) {
			require.NotEqual(t, write[1], remove[1], page)
		}
	}
	require.False(t, strings.Contains(block, "paused=true") && strings.Contains(block, "paused=false"), page)
}

// boundVariables are variables that a command sets before it uses them, or that every shell has.
var boundVariables = map[string]bool{
	"HOME": true, "SECRET": true, "E": true, "STATUS": true, "ID": true, "NAME": true, "POLICY": true,
}

func TestPages_CommandsAreSafeToPaste(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	decisions, err := filepath.Glob("docs/*/*.md")
	require.NoError(t, err)
	pages = append(pages, decisions...)
	blocks := 0
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md") {
		for _, block := range pageShell.FindAllStringSubmatch(pageText(t, page), -1) {
			blocks++
			require.NotRegexp(t, ownFile, block[1], "%s: this file contains the reader's own profiles", page)
			requireOneIntent(t, page, block[1])
			for line := range strings.Lines(block[1]) {
				for _, file := range redirection.FindAllStringSubmatch(line, -1) {
					require.Regexp(t, `\.new$|^/dev/null$`, strings.Trim(file[1], `"`), "%s: a failed read would empty the file: %s", page, line)
				}
				for _, secret := range secretArgument.FindAllStringSubmatch(line, -1) {
					require.Contains(t, []string{"-", "@"}, secret[1], "%s: a secret would be in the list of processes: %s", page, line)
				}
				for _, name := range shellVariable.FindAllStringSubmatch(line, -1) {
					inLoop := strings.Contains(block[1], "for "+name[1]+" in ")
					require.True(t, name[2] != "" || boundVariables[name[1]] || inLoop, "%s: write ${%s:?}, so that an empty variable stops the command: %s", page, name[1], line)
				}
			}
			require.Equal(t, strings.Count(block[1], "read -r"), strings.Count(block[1], "read -rs SECRET"), "%s shows a secret", page)
		}
	}
	require.Greater(t, blocks, 20)
}

func pageText(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	return string(text)
}

// anchors returns the anchors that GitHub makes from the headings of a page.
func anchors(text string) (all []string) {
	for _, heading := range pageHeading.FindAllStringSubmatch(pageFence.ReplaceAllString(text, ""), -1) {
		name := notInAnchor.ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

var (
	quotedMessage = regexp.MustCompile("`([^`]+)`")
	// joined matches the place where a text in the source continues on the next line.
	joined = regexp.MustCompile(`"\s*\+\s*"`)
	// verb matches a verb of fmt.
	verb = regexp.MustCompile(`%[a-z]`)
	// someValue matches an example value on a page.
	someValue = regexp.MustCompile(`ak-…|"[^"]*"`)
)

// vaultMessages are messages of Vault, its SDK or its command line, of the plugin before it serves, and of Modal.
var vaultMessages = []string{
	"checksums did not match", "plugin version mismatch", "plugin not found in the catalog", "permission denied",
	"No value found at modal/revocations", "No value found", "unsupported path", "changed false",
	"Failed to lock memory", "plugin stopped", "cannot allocate memory", "Token validation failed", "credential settings are ignored inside containers",
}

// TestTroubleshooting_ExplainsOnlyMessagesThatTheEngineHas finds explanations of messages that were changed or removed.
func TestTroubleshooting_ExplainsOnlyMessagesThatTheEngineHas(t *testing.T) {
	t.Parallel()
	source := verb.ReplaceAllString(joined.ReplaceAllString(sourceText(t), ""), "…")
	checked := 0
	for line := range strings.Lines(pageText(t, "docs/troubleshooting.md")) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, message := range quotedMessage.FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			if !strings.Contains(message[1], " ") || slices.Contains(vaultMessages, message[1]) {
				continue
			}
			checked++
			for part := range strings.SplitSeq(someValue.ReplaceAllString(message[1], "…"), "…") {
				if !strings.Contains(source, strings.Trim(part, " ()")) {
					t.Errorf("no message contains %q of %q", part, message[1])
				}
			}
		}
	}
	require.Greater(t, checked, 60)
}

// sourceText returns the code that contains the engine's messages.
func sourceText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range []string{".", "internal/request", "internal/model", "internal/state", "internal/revocation", "internal/engine", "internal/modalapi", "internal/store"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		require.NoError(t, err)
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				all.WriteString(pageText(t, file))
			}
		}
	}
	return all.String()
}
