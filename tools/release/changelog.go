// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	versionHeading = regexp.MustCompile(`(?m)^## \[([^\]]+)\](.*)$`)
	releaseDate    = regexp.MustCompile(`^ - \d{4}-\d{2}-\d{2}$`)
)

func printChangelog(_ context.Context, o options, stdout io.Writer) error {
	section, err := o.changes()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, section)
	return err
}

// changes returns the section of CHANGELOG.md for the version.
func (o options) changes() (string, error) {
	text, err := os.ReadFile(filepath.Join(o.root, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	if o.snapshot {
		return newest(string(text))
	}
	return section(string(text), o.version)
}

// newest returns the text below "Unreleased". If that is empty, because a release moved it below its heading,
// newest returns the text of the newest version.
func newest(changelog string) (string, error) {
	text, err := section(changelog, "Unreleased")
	if err == nil {
		return text, nil
	}
	for _, heading := range versionHeading.FindAllStringSubmatch(changelog, -1) {
		if heading[1] != "Unreleased" {
			return section(changelog, heading[1])
		}
	}
	return "", err
}

// section returns the text below the heading of a version. For a release the heading must exist and have a date.
func section(changelog, version string) (string, error) {
	headings := versionHeading.FindAllStringSubmatchIndex(changelog, -1)
	for i, at := range headings {
		if changelog[at[2]:at[3]] != version {
			continue
		}
		end := len(changelog)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		text := strings.TrimSpace(changelog[at[1]:end])
		switch {
		case text == "":
			return "", fmt.Errorf("CHANGELOG.md has no text for %s: write below its heading what changed", version)
		case version != "Unreleased" && !releaseDate.MatchString(changelog[at[4]:at[5]]):
			return "", fmt.Errorf("CHANGELOG.md has no date for %s: change its heading to ## [%s] - YYYY-MM-DD", version, version)
		}
		return text, nil
	}
	return "", fmt.Errorf("CHANGELOG.md has no entry for %s: add ## [%s] - YYYY-MM-DD, commit, and move the tag", version, version)
}
