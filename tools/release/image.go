// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// notices are the licences of the libraries in the binary, which `make licenses` collects.
const notices = "THIRD_PARTY_NOTICES"

// imageArchitectures are the architectures of Linux systems that run containers.
var imageArchitectures = []string{"amd64", "arm64"}

func (o options) dist() string { return filepath.Join(o.root, "dist") }

func (o options) imageFile() string {
	return filepath.Join(o.dist(), product+"_"+o.version+"_image.tar")
}

// writeImage writes an OCI layout as one file, without a container daemon. One commit gives one digest.
func writeImage(_ context.Context, o options, stdout io.Writer) error {
	index, err := o.index()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", product+"-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	written, err := layout.Write(folder, empty.Index)
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	tag := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": o.version})
	if err = written.AppendIndex(index, tag); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	if err = pack(folder, o.imageFile(), o.when()); err != nil {
		return fmt.Errorf("pack the image: %w", err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, o.imageFile(), digest)
	return err
}

func (o options) when() time.Time { return time.Unix(o.created, 0).UTC() }

// index builds the image for all architectures.
func (o options) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range imageArchitectures {
		built, err := filepath.Glob(filepath.Join(o.dist(), product+"_linux_"+arch+"_*", product))
		if err != nil || len(built) != 1 {
			return nil, fmt.Errorf("find the binary for linux/%s: %d of them in %s: build it first", arch, len(built), o.dist())
		}
		one, err := o.platformImage(arch, built[0])
		if err != nil {
			return nil, fmt.Errorf("make the image for linux/%s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        one,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return index, nil
}

// platformImage contains only the licences and the binary, which Vault runs and OpenBao extracts.
func (o options) platformImage(arch, binary string) (v1.Image, error) {
	files, err := o.layer(binary)
	if err != nil {
		return nil, err
	}
	made := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if made, err = mutate.AppendLayers(made, files); err != nil {
		return nil, err
	}
	config, err := made.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: o.when()}
	config.Config.Entrypoint = []string{"/" + product}
	config.Config.Labels = map[string]string{
		"org.opencontainers.image.title": product, "org.opencontainers.image.version": o.version,
		"org.opencontainers.image.licenses": "MPL-2.0",
	}
	return mutate.ConfigFile(made, config)
}

func (o options) layer(binary string) (v1.Layer, error) {
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	err := errors.Join(
		add(archive, filepath.Join(o.root, "LICENSE"), "LICENSE", 0o444, o.when()),
		add(archive, filepath.Join(o.root, "bin", notices), notices, 0o444, o.when()),
		add(archive, binary, product, 0o555, o.when()),
		archive.Close())
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// pack writes the files of a folder, sorted by name and all with one time.
func pack(folder, file string, when time.Time) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	err = fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return add(archive, filepath.Join(folder, filepath.FromSlash(name)), name, 0o444, when)
	})
	return errors.Join(err, archive.Close(), out.Close())
}

func add(archive *tar.Writer, file, name string, mode int64, when time.Time) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Size: int64(len(content)), Mode: mode, ModTime: when}
	if err = archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = archive.Write(content)
	return err
}
