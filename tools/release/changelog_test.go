// SPDX-License-Identifier: MPL-2.0

package main

import "testing"

const sample = `# Changelog

## [Unreleased]

## [1.2.0] - 2026-03-01

### Added

- A thing.

## [1.1.0]

- No date.
`

func TestChangelog_ReleaseNeedsAnEntryWithADate(t *testing.T) {
	t.Parallel()
	text, err := section(sample, "1.2.0")
	if err != nil || text != "### Added\n\n- A thing." {
		t.Fatalf("the entry is %q, %v", text, err)
	}
	for version, want := range map[string]string{
		"1.3.0":      "CHANGELOG.md has no entry for 1.3.0: add ## [1.3.0] - YYYY-MM-DD, commit, and move the tag",
		"1.2":        "CHANGELOG.md has no entry for 1.2: add ## [1.2] - YYYY-MM-DD, commit, and move the tag",
		"1.1.0":      "CHANGELOG.md has no date for 1.1.0: change its heading to ## [1.1.0] - YYYY-MM-DD",
		"Unreleased": "CHANGELOG.md has no text for Unreleased: write below its heading what changed",
	} {
		if _, err = section(sample, version); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", version, err, want)
		}
	}
}

func TestChangelog_SnapshotUsesTheUnreleasedOrNewestText(t *testing.T) {
	t.Parallel()
	for changelog, want := range map[string]string{
		sample: "### Added\n\n- A thing.",
		"## [Unreleased]\n\n- Another.\n\n## [1.2.0] - 2026-03-01\n\n- A thing.\n": "- Another.",
		"## [1.2.0] - 2026-03-01\n\n- A thing.\n":                                  "- A thing.",
	} {
		if text, err := newest(changelog); err != nil || text != want {
			t.Errorf("the entry is %q, %v, want %q", text, err, want)
		}
	}
	for _, changelog := range []string{"", "## [Unreleased]\n", "## [Unreleased]\n\n## [1.1.0]\n\n- No date.\n"} {
		if text, err := newest(changelog); err == nil {
			t.Errorf("the entry of %q is %q", changelog, text)
		}
	}
}
