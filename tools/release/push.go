// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// push uploads the image with the credentials of docker login. The tags are 1.2.3, which Vault derives from a
// version, and v1.2.3, which OpenBao uses.
func push(ctx context.Context, o options, stdout io.Writer) error {
	if o.image == "" {
		return errors.New("push the image: name the destination with -image=REGISTRY/" + product)
	}
	return o.withIndex(func(index v1.ImageIndex) error {
		for _, version := range []string{o.version, "v" + o.version} {
			tag, err := name.NewTag(o.image + ":" + version)
			if err != nil {
				return fmt.Errorf("name the image: %w", err)
			}
			err = remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
			if err != nil {
				return fmt.Errorf("push the image: %w", err)
			}
		}
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "%s@%s\n", o.image, digest)
		return err
	})
}

// withIndex calls a function with the image that was written, and possibly signed since.
func (o options) withIndex(use func(v1.ImageIndex) error) error {
	folder, err := os.MkdirTemp("", product+"-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err = unpack(o.imageFile(), folder); err != nil {
		return fmt.Errorf("unpack the image: %w", err)
	}
	outer, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	if len(manifest.Manifests) != 1 {
		return fmt.Errorf("read the image: %s has %d images, not one", o.imageFile(), len(manifest.Manifests))
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	return use(index)
}

// unpack is the reverse of pack. It writes only inside the folder.
func unpack(file, folder string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for archive := tar.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return err
		}
		name := filepath.FromSlash(header.Name)
		if err = errors.Join(root.MkdirAll(filepath.Dir(name), 0o755), root.WriteFile(name, content, 0o600)); err != nil {
			return err
		}
	}
}
