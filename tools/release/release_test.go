// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// built creates the files that goreleaser leaves.
func built(t *testing.T) options {
	t.Helper()
	o := options{root: t.TempDir(), version: "1.2.0", created: 1_790_000_000}
	for file, text := range map[string]string{
		"LICENSE": "the licence", "bin/THIRD_PARTY_NOTICES": "the notices", "CHANGELOG.md": sample,
		"dist/" + product + "_linux_amd64_v1/" + product:   "binary for amd64",
		"dist/" + product + "_linux_arm64_v8.0/" + product: "binary for arm64",
		"dist/metadata.json":                               `{"version": "1.2.0"}`,
		"dist/artifacts.json": `[
			{"path": "dist/` + product + `_linux_arm64_v8.0/` + product + `", "goos": "linux", "goarch": "arm64", "type": "Binary"},
			{"path": "dist/` + product + `_linux_amd64_v1/` + product + `", "goos": "linux", "goarch": "amd64", "type": "Binary"},
			{"path": "dist/other.zip", "goos": "linux", "goarch": "amd64", "type": "Archive"}]`,
	} {
		path := filepath.Join(o.root, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func TestImage_ContainsOnlyItsPlatformsBinaryAndTheLicences(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	o := built(t)
	o.image = strings.TrimPrefix(server.URL, "http://") + "/plugins/" + product
	for _, verb := range []string{"image", "push"} {
		if err := run(t.Context(), []string{verb, "-root", o.root, "-image", o.image}, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	for _, arch := range imageArchitectures {
		// OpenBao extracts the binary in this way.
		tag, err := name.ParseReference(o.image + ":v1.2.0")
		if err != nil {
			t.Fatal(err)
		}
		image, err := remote.Image(tag, remote.WithContext(t.Context()), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/"+product || config.Architecture != arch {
			t.Fatalf("the configuration is %+v, %v", config, err)
		}
		files := filesOf(t, mutate.Extract(image))
		want := map[string]string{"LICENSE": "the licence", "THIRD_PARTY_NOTICES": "the notices", product: "binary for " + arch}
		if !maps.Equal(files, want) {
			t.Errorf("%s has %v", arch, files)
		}
	}
}

func filesOf(t *testing.T, packed io.ReadCloser) map[string]string {
	t.Helper()
	defer packed.Close()
	files := map[string]string{}
	for archive := tar.NewReader(packed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
	}
}

func TestImage_OneCommitHasOneHashInEveryFolder(t *testing.T) {
	t.Parallel()
	sums := map[[32]byte]bool{}
	for range 2 {
		o := built(t)
		if err := writeImage(t.Context(), o, io.Discard); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(o.imageFile())
		if err != nil {
			t.Fatal(err)
		}
		sums[sha256.Sum256(content)] = true
	}
	if len(sums) != 1 {
		t.Error("the same files in two folders give two images")
	}
}

func TestNotes_ListTheChangesAndHowToRegisterEachBinary(t *testing.T) {
	t.Parallel()
	o := built(t)
	if err := errors.Join(writeImage(t.Context(), o, io.Discard), writeNotes(t.Context(), o, io.Discard)); err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(filepath.Join(o.dist(), "release-notes.md"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("binary for arm64"))
	for _, want := range []string{
		"- A thing.", "unzip " + product + "_1.2.0_linux_amd64.zip " + product + "\n", "linux/arm64:\n\n```sh\nvault plugin register -sha256=" + hex.EncodeToString(sum[:]) + " \\\n  -version=v1.2.0 ",
		`sha256sum = "` + hex.EncodeToString(sum[:]) + `"`,
	} {
		if !bytes.Contains(notes, []byte(want)) {
			t.Errorf("the notes do not have %q:\n%s", want, notes)
		}
	}
}

func TestNotes_NameTheRegistryImageOrExplainHowToPushIt(t *testing.T) {
	t.Parallel()
	const push = "go -C tools/release run . push -version=1.2.0 -image="
	for image, want := range map[string][]string{
		"registry.test/a": {"It is `registry.test/a:1.2.0`.", `image     = "registry.test/a"`, "-oci_image=registry.test/a "},
		"":                {"in `" + product + "_1.2.0_image.tar`", push + `"${IMAGE:?}"`, `image     = "$IMAGE"`, `-oci_image="${IMAGE:?}" `},
	} {
		o := built(t)
		o.image = image
		if err := errors.Join(writeImage(t.Context(), o, io.Discard), writeNotes(t.Context(), o, io.Discard)); err != nil {
			t.Fatal(err)
		}
		notes, err := os.ReadFile(filepath.Join(o.dist(), "release-notes.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !bytes.Contains(notes, []byte(text)) {
				t.Errorf("the notes for image %q do not have %q:\n%s", image, text, notes)
			}
		}
		if bytes.Contains(notes, []byte("REGISTRY")) || bytes.Contains(notes, []byte(push)) != (image == "") {
			t.Errorf("the notes for image %q:\n%s", image, notes)
		}
	}
}

func TestPush_NeedsADestination(t *testing.T) {
	t.Parallel()
	o := built(t)
	if err := push(t.Context(), o, io.Discard); err == nil || !strings.Contains(err.Error(), "-image=") {
		t.Errorf("the error is %v", err)
	}
}

func TestNotes_NeedAnEntryInTheChangelog(t *testing.T) {
	t.Parallel()
	o := built(t)
	o.version = "1.3.0"
	if err := writeNotes(t.Context(), o, io.Discard); err == nil || !strings.Contains(err.Error(), "no entry for 1.3.0") {
		t.Errorf("the error is %v", err)
	}
}

func TestRun_RefusesBadVerbsAndFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"publish"}, {"changelog", "-root", "nowhere"}, {"changelog", "-version=1.2.0", "more"}} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
