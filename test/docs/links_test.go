// SPDX-License-Identifier: MPL-2.0

package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// foldersWithoutPages hold files that this repository did not write.
var foldersWithoutPages = []string{".git", "bin", "dist", "node_modules", "vendor", ".venv"}

var (
	codeSpan = regexp.MustCompile("`[^`\n]*`")
	// inlineLink matches [text](target) and ![text](target), and referenceLink matches [name]: target.
	inlineLink    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	referenceLink = regexp.MustCompile(`(?m)^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)`)
	htmlLink      = regexp.MustCompile(`(?:href|src)="([^"]+)"`)
	indentedFence = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	linkInHeading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

func TestDocsLinks_ResolveInEveryPageOfTheRepository(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, page := range markdownPages(t, ".") {
		broken, links := brokenLinks(t, ".", page)
		checked += links
		for _, problem := range broken {
			t.Error(problem)
		}
	}
	require.Greater(t, checked, 300)
}

// Readers find a page only through the index.
func TestDocsLinks_LeadFromTheIndexToEveryPageOfDocs(t *testing.T) {
	t.Parallel()
	require.Contains(t, linkTargets("README.md", pageText(t, "README.md")), "docs/README.md")
	linked := linkTargets("docs/README.md", pageText(t, "docs/README.md"))
	linked = append(linked, linkTargets("docs/decisions/README.md", pageText(t, "docs/decisions/README.md"))...)
	for _, page := range markdownPages(t, "docs") {
		if page = filepath.Join("docs", page); page != "docs/README.md" && !slices.Contains(linked, page) {
			t.Errorf("docs/README.md does not link to %s", page)
		}
	}
}

func TestDocsLinks_CheckFindsEachKindOfBrokenLink(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	write("docs/other.md", "# Other page\n\n## Twice\n\n## Twice\n\n## A `code` and a [link](x)\n\n```sh\n# no heading\n```\n")
	good := "[a](other.md) [b](other.md#twice-1) [c](#here) [d](other.md#a-code-and-a-link) [e](https://example.com/x) [f](../docs)\n\n" +
		"## Here\n\n`[code](nowhere.md)`\n\n```text\n[fence](nowhere.md)\n```\n\n[r]: other.md#twice\n"
	write("docs/page.md", good)
	broken, links := brokenLinks(t, folder, "docs/page.md")
	require.Empty(t, broken)
	require.Equal(t, 6, links)
	for _, link := range []string{
		"[a](nowhere.md)", "![a](nowhere.png)", "[a](other.md#nowhere)", "[a](other.md#twice-2)", "[a](#nowhere)", "[a](other.md#no-heading)",
		"[r]: nowhere.md", `<img src="nowhere.png">`, "[a](/docs/other.md)", "[a](../../outside.md)", "[a](../docs#anchor)",
	} {
		write("docs/page.md", good+"\n"+link+"\n")
		broken, _ = brokenLinks(t, folder, "docs/page.md")
		require.Len(t, broken, 1, link)
	}
}

// markdownPages returns the pages below a folder, relative to it.
func markdownPages(t *testing.T, root string) (pages []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains(foldersWithoutPages, entry.Name()) {
			return filepath.SkipDir
		}
		if !entry.IsDir() && filepath.Ext(file) == ".md" {
			page, err := filepath.Rel(root, file)
			require.NoError(t, err)
			pages = append(pages, page)
		}
		return nil
	}))
	return pages
}

// links returns the links of a text that lead to no other server.
func links(text string) (all []string) {
	text = codeSpan.ReplaceAllString(indentedFence.ReplaceAllString(text, ""), "")
	for _, kind := range []*regexp.Regexp{inlineLink, referenceLink, htmlLink} {
		for _, match := range kind.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(match[1], "://") && !strings.HasPrefix(match[1], "mailto:") {
				all = append(all, match[1])
			}
		}
	}
	return all
}

// linkTargets returns the files that a page links to, relative to the repository.
func linkTargets(page, text string) (targets []string) {
	for _, link := range links(text) {
		file, _, _ := strings.Cut(link, "#")
		targets = append(targets, filepath.Join(filepath.Dir(page), file))
	}
	return targets
}

// brokenLinks returns a line for each link of a page that does not resolve, and the number of links that it checked.
func brokenLinks(t *testing.T, root, page string) (broken []string, checked int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	require.NoError(t, err)
	for _, link := range links(string(text)) {
		checked++
		if problem := brokenLink(root, page, link); problem != "" {
			broken = append(broken, fmt.Sprintf("%s links to %s: %s", page, link, problem))
		}
	}
	return broken, checked
}

func brokenLink(root, page, link string) string {
	file, anchor, hasAnchor := strings.Cut(link, "#")
	if strings.HasPrefix(file, "/") {
		return "a link must be relative"
	}
	target := page
	if file != "" {
		target = filepath.Join(filepath.Dir(page), file)
	}
	if !filepath.IsLocal(target) {
		return "the target is outside of the repository"
	}
	info, err := os.Stat(filepath.Join(root, target))
	if err != nil {
		return "there is no such file"
	}
	if !hasAnchor {
		return ""
	}
	if info.IsDir() || filepath.Ext(target) != ".md" {
		return "only a page has anchors"
	}
	text, err := os.ReadFile(filepath.Join(root, target))
	if err != nil {
		return err.Error()
	}
	if !slices.Contains(headingAnchors(string(text)), anchor) {
		return "the page has no such heading"
	}
	return ""
}

// headingAnchors returns the anchors that GitHub makes from the headings of a page. The second heading with the same
// text gets -1 at its end.
func headingAnchors(text string) (all []string) {
	seen := map[string]int{}
	for _, heading := range pageHeading.FindAllStringSubmatch(indentedFence.ReplaceAllString(text, ""), -1) {
		title := linkInHeading.ReplaceAllString(heading[1], "$1")
		name := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
		if count := seen[name]; count > 0 {
			all = append(all, fmt.Sprintf("%s-%d", name, count))
		} else {
			all = append(all, name)
		}
		seen[name]++
	}
	return all
}
