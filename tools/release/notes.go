// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/sha256"
	_ "embed" // for the template
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

//go:embed notes.md
var notesText string

var notesTemplate = template.Must(template.New("notes").Parse(notesText))

// notes are the template's data.
type notes struct {
	Product, Version, Changes, Image string // Image is empty if the image is in no registry
	Binaries                         []binary
	Images                           []platformID
}

// binary is a built binary with the hash that Vault and OpenBao ask for.
type binary struct{ System, SHA256 string }

// platformID is the image ID in Docker's classic store, which Vault asks for.
type platformID struct{ System, ID, BinarySHA256 string }

func writeNotes(_ context.Context, o options, stdout io.Writer) error {
	changes, err := o.changes()
	if err != nil {
		return err
	}
	binaries, err := o.binaries()
	if err != nil {
		return err
	}
	images, err := o.platformIDs(binaries)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err = notesTemplate.Execute(&text, notes{product, o.version, changes, o.image, binaries, images}); err != nil {
		return err
	}
	file := filepath.Join(o.dist(), "release-notes.md")
	if err = os.WriteFile(file, []byte(text.String()), 0o644); err != nil { //nolint:gosec // everybody may read the notes
		return err
	}
	_, err = fmt.Fprintln(stdout, file)
	return err
}

// binaries returns the binaries that goreleaser's metadata lists, by system.
func (o options) binaries() ([]binary, error) {
	text, err := os.ReadFile(filepath.Join(o.dist(), "artifacts.json"))
	if err != nil {
		return nil, fmt.Errorf("read the list of built files: %w", err)
	}
	var artifacts []struct{ Path, Goos, Goarch, Goarm, Type string }
	if err = json.Unmarshal(text, &artifacts); err != nil {
		return nil, fmt.Errorf("read the list of built files: %w", err)
	}
	var all []binary
	for _, built := range artifacts {
		if built.Type != "Binary" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(o.root, built.Path))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		all = append(all, binary{built.Goos + "/" + built.Goarch, hex.EncodeToString(sum[:])})
	}
	if len(all) == 0 {
		return nil, errors.New("read the list of built files: it contains no binary")
	}
	slices.SortFunc(all, func(a, b binary) int { return strings.Compare(a.System, b.System) })
	return all, nil
}

// platformIDs reads the IDs from the image.
func (o options) platformIDs(binaries []binary) ([]platformID, error) {
	var ids []platformID
	failure := o.withIndex(func(index v1.ImageIndex) error {
		manifest, err := index.IndexManifest()
		if err != nil {
			return err
		}
		for _, entry := range manifest.Manifests {
			one, err := index.Image(entry.Digest)
			if err != nil {
				return err
			}
			id, err := one.ConfigName()
			if err != nil {
				return err
			}
			system := entry.Platform.OS + "/" + entry.Platform.Architecture
			i := slices.IndexFunc(binaries, func(b binary) bool { return b.System == system })
			if i < 0 {
				return fmt.Errorf("the image has a binary for %s that was not built", system)
			}
			ids = append(ids, platformID{system, id.Hex, binaries[i].SHA256})
		}
		return nil
	})
	return ids, failure
}
