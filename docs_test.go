// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxReadme is how long a README may be that people read.
const maxReadme = 12_000

var (
	pageHeading = regexp.MustCompile("(?m)^#+ (.+)$")
	pageLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	pageFence   = regexp.MustCompile("(?ms)^```.*?^```$")
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

func TestReadme_IsShortAndFindsWhatIsSoughtInOneLook(t *testing.T) {
	t.Parallel()
	text := pageText(t, "README.md")
	require.LessOrEqual(t, len(text), maxReadme)
	contents, _, found := strings.Cut(text, "\n## ")
	require.True(t, found)
	for _, sought := range []string{
		"Leaked token", "Undo", "Upgrade", "Restore", "Uninstall", "Policies", "Alarms", "Network", "Compatibility",
	} {
		require.Regexp(t, `\[`+sought+`\]\([^)]*#`, contents)
	}
}

func TestPages_LinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	known := map[string][]string{}
	for _, page := range append(pages, "README.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md") {
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

func pageText(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	return string(text)
}

// anchors are those that GitHub gives to the headings of a page.
func anchors(text string) (all []string) {
	for _, heading := range pageHeading.FindAllStringSubmatch(pageFence.ReplaceAllString(text, ""), -1) {
		name := notInAnchor.ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}
