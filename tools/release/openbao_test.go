// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestImage_OpenBaoRunsThePluginAsTheNotesSay uses the OpenBao in BAO_BIN, which make e2e-openbao sets.
func TestImage_OpenBaoRunsThePluginAsTheNotesSay(t *testing.T) {
	t.Parallel()
	bao := os.Getenv("BAO_BIN")
	if bao == "" || runtime.GOOS != "linux" {
		t.Skip("BAO_BIN is not set, or this is not Linux")
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	image := strings.TrimPrefix(server.URL, "http://") + "/plugins/" + product
	first, second := released(t, "1.2.0", image).stanza(t), released(t, "1.2.1", image).stanza(t)

	b := startBao(t, bao, first)
	key := b.unsealNew()
	b.await("secrets", "enable", "-path=modal", product)
	b.serves("v1.2.0")

	// docs/operations.md describes this upgrade.
	b.configure(first + strings.ReplaceAll(second, "plugin_auto_download = true\n", ""))
	b.await("secrets", "tune", "-plugin-version=v1.2.1", "modal/")
	b.await("plugin", "reload", "-plugin="+product, "-scope=global")
	b.serves("v1.2.1")
	b.stop()
	b.configure(second)
	b.start()
	b.await("operator", "unseal", key)
	b.serves("v1.2.1")
}

// TestImage_OpenBaoTakesTheImageByItsDigest needs no sha256sum, and one stanza is right on every architecture.
func TestImage_OpenBaoTakesTheImageByItsDigest(t *testing.T) {
	t.Parallel()
	path := os.Getenv("BAO_BIN")
	if path == "" || runtime.GOOS != "linux" {
		t.Skip("BAO_BIN is not set, or this is not Linux")
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	image := strings.TrimPrefix(server.URL, "http://") + "/plugins/" + product
	var digest v1.Hash
	err := released(t, "1.2.0", image).withIndex(func(index v1.ImageIndex) (err error) {
		digest, err = index.Digest()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stanza := fmt.Sprintf("plugin_auto_download = true\nplugin \"secret\" %q {\n  image   = \"%s@%s\"\n  version = \"v1.2.0\"\n}\n", product, image, digest)

	b := startBao(t, path, stanza)
	b.unsealNew()
	b.await("secrets", "enable", "-path=modal", product)
	b.serves("v1.2.0")

	b.stop()
	b.configure(strings.ReplaceAll(stanza, "@"+digest.String(), ""))
	refused, err := b.command("server", "-config="+b.file).CombinedOutput()
	if err == nil || !strings.Contains(string(refused), "sha256sum must be set if image is not pinned by digest") {
		t.Errorf("a stanza without a hash is not refused: %v\n%s", err, refused)
	}
}

// released returns a version with notes and with its image in the registry.
func released(t *testing.T, version, image string) options {
	t.Helper()
	o := built(t)
	o.version = version
	changes := []byte(strings.Replace(sample, "1.2.0", version, 1))
	if err := os.WriteFile(filepath.Join(o.root, "CHANGELOG.md"), changes, 0o600); err != nil {
		t.Fatal(err)
	}
	buildPlugin(t, o)
	for _, verb := range []string{"image", "push", "notes"} {
		if err := run(t.Context(), []string{verb, "-root", o.root, "-version", version, "-image", image}, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// buildPlugin replaces the placeholder binary of built by a real binary.
func buildPlugin(t *testing.T, o options) {
	t.Helper()
	places, err := filepath.Glob(filepath.Join(o.dist(), product+"_linux_"+runtime.GOARCH+"_*", product))
	if err != nil || len(places) != 1 {
		t.Fatalf("no image is made for %s: %v", runtime.GOARCH, err)
	}
	if err = os.Remove(places[0]); err != nil { // go build does not overwrite files that it did not build
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", places[0],
		"-ldflags=-s -w -X "+product+"/internal/version.Version=v"+o.version, "./cmd/"+product)
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
}

// stanza returns the configuration of OpenBao that the notes contain.
func (o options) stanza(t *testing.T) string {
	t.Helper()
	notes, err := os.ReadFile(filepath.Join(o.dist(), "release-notes.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```hcl\n(# linux/" + runtime.GOARCH + "\n.*?)```").FindSubmatch(notes)
	if found == nil {
		t.Fatalf("the notes have no lines for OpenBao:\n%s", notes)
	}
	return string(found[1])
}

// bao is a running OpenBao server, with the last output of its command.
type bao struct {
	t    *testing.T
	path string
	file string // its configuration
	base string // the configuration without the plugin
	logs string
	env  []string
	said []byte

	process *exec.Cmd
}

func startBao(t *testing.T, path, stanza string) *bao {
	t.Helper()
	folder, api, cluster := t.TempDir(), freeAddress(t), freeAddress(t)
	for _, name := range []string{"raft", "plugins"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	base := fmt.Sprintf(`storage "raft" {
  path    = "%[1]s/raft"
  node_id = "one"
}
listener "tcp" {
  address         = %[2]q
  cluster_address = %[3]q
  tls_disable     = true
}
api_addr         = "http://%[2]s"
cluster_addr     = "http://%[3]s"
plugin_directory = "%[1]s/plugins"
`, folder, api, cluster)
	b := &bao{t: t, path: path, file: filepath.Join(folder, "server.hcl"), base: base, logs: filepath.Join(folder, "log")}
	b.env = []string{"HOME=" + folder, "PATH=" + os.Getenv("PATH"), "BAO_ADDR=http://" + api}
	b.configure(stanza)
	b.start()
	t.Cleanup(b.stop)
	return b
}

// unsealNew initialises and unseals a new server, and returns the key.
func (b *bao) unsealNew() (key string) {
	b.t.Helper()
	b.await("operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json")
	var made struct {
		Keys  []string `json:"unseal_keys_b64"`
		Token string   `json:"root_token"`
	}
	if err := json.Unmarshal(b.said, &made); err != nil || len(made.Keys) != 1 {
		b.t.Fatalf("OpenBao was initialised with %d keys: %v", len(made.Keys), err)
	}
	b.env = append(b.env, "BAO_TOKEN="+made.Token)
	b.await("operator", "unseal", made.Keys[0])
	return made.Keys[0]
}

func (b *bao) start() {
	b.t.Helper()
	logs, err := os.OpenFile(b.logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer logs.Close()
	process := b.command("server", "-config="+b.file)
	process.Stdout, process.Stderr = logs, logs
	if err = process.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.process = process
}

func (b *bao) stop() {
	if b.process == nil {
		return
	}
	_ = b.process.Process.Signal(os.Interrupt) // the server also stops the plugin
	_ = b.process.Wait()
	b.process = nil
}

// configure writes the configuration. A running server reloads it.
func (b *bao) configure(plugins string) {
	b.t.Helper()
	err := os.WriteFile(b.file, []byte(b.base+plugins), 0o600)
	if err == nil && b.process != nil {
		err = b.process.Process.Signal(syscall.SIGHUP)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// serves checks that the mount answers with the given version.
func (b *bao) serves(version string) {
	b.t.Helper()
	for _, asked := range [][]string{
		{"none", "read", "-field=admin_token_state", "modal/status"},
		{version, "read", "-field=running_plugin_version", "sys/mounts/modal"},
	} {
		b.await(asked[1:]...)
		if got := strings.TrimSpace(string(b.said)); got != asked[0] {
			b.t.Errorf("%v says %q, not %q", asked[1:], got, asked[0])
		}
	}
}

func (b *bao) command(args ...string) *exec.Cmd {
	process := exec.CommandContext(context.WithoutCancel(b.t.Context()), b.path, args...)
	process.Env = b.env
	return process
}

// await repeats a command until it succeeds.
func (b *bao) await(args ...string) {
	b.t.Helper()
	again, late := time.NewTicker(200*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		var err error
		if b.said, err = b.command(args...).Output(); err == nil {
			return
		}
		select {
		case <-again.C:
		case <-late:
			logs, _ := os.ReadFile(b.logs)
			b.t.Fatalf("bao %s %s: %v\n%s", args[0], args[1], err, logs)
		}
	}
}

// freeAddress returns an address without a listener.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
