// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	module = "vault-plugin-secrets-modal"
	// PluginName is the engine's name in Vault's plugin catalogue.
	PluginName = module
)

// Tools are the programs that labs run. They are built once and shared by all labs.
type Tools struct {
	// Vault is the path of a vault binary, or of OpenBao's, which runs the same way.
	Vault string
	// OpenBao reports whether the binary is OpenBao's.
	OpenBao bool
	// Bin is a folder in which the binary is called vault, because scripts need that name.
	Bin string

	root     string // of this repository
	dir      string
	progress io.Writer

	installing sync.Mutex // two installations of one client at a time would damage each other
	addresses  sync.Map   // the addresses that servers got
}

// Plugin is a build of the engine, or of Vault's JWT auth method, in the labs' plugin directory.
type Plugin struct{ Type, Name, Command, SHA256, Version string }

// The scripts that find a server differ in their last choice: tests and benchmarks use Vault even if it must be
// built from source, which takes minutes. Who only wants to see the plugin gets an OpenBao in seconds.
const (
	vaultToTest    = "tools/vault/path.sh"
	quickestServer = "tools/server/path.sh"
)

// BuildTools finds or builds Vault and builds the emulator and the SDK client. It takes Vault from VAULT_BIN,
// from PATH, or builds the pinned module. A build without a cache takes minutes and shows its progress.
// Progress goes to the given writer. The caller closes the tools.
func BuildTools(ctx context.Context, progress io.Writer) (*Tools, error) {
	t, err := findServer(ctx, vaultToTest, progress)
	if err != nil {
		return nil, err
	}
	if err = errors.Join(t.buildEmulator(ctx), t.BuildSDK(ctx)); err != nil {
		_ = t.Close() // the build's error matters more
		return nil, err
	}
	return t, nil
}

// findServer returns tools that have only a server yet, which the script found.
func findServer(ctx context.Context, script string, progress io.Writer) (*Tools, error) {
	t := &Tools{progress: progress}
	gomod, err := t.output(ctx, "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	t.root = filepath.Dir(gomod)
	if t.Vault, err = t.output(ctx, filepath.Join(t.root, script)); err != nil {
		return nil, err
	}
	if t.OpenBao, err = t.isOpenBao(ctx); err != nil {
		return nil, err
	}
	if t.dir, err = tempDir("modal-tools-"); err != nil {
		return nil, err
	}
	if err = errors.Join(t.linkVault(), os.Mkdir(t.pluginDir(), 0o700)); err != nil {
		_ = t.Close() // this error matters more
		return nil, err
	}
	return t, nil
}

func (t *Tools) buildEmulator(ctx context.Context) error {
	return t.build(ctx, filepath.Join(t.dir, "modal-emulator"), "cmd/modal-emulator")
}

// BuildSDK builds the client on Modal's Go SDK. BuildTools has already built the client; OnStage has not.
func (t *Tools) BuildSDK(ctx context.Context) error {
	return t.build(ctx, filepath.Join(t.dir, "modal-sdk"), "e2e/sdk")
}

func (t *Tools) linkVault() error {
	t.Bin = filepath.Join(t.dir, "bin")
	return errors.Join(os.Mkdir(t.Bin, 0o700), os.Symlink(t.Vault, filepath.Join(t.Bin, "vault")))
}

// Close removes what was built.
func (t *Tools) Close() error { return os.RemoveAll(t.dir) }

// BuildPlugin builds the engine with the given version (semver with a leading v) into the labs' plugin
// directory.
func (t *Tools) BuildPlugin(ctx context.Context, version string) (Plugin, error) {
	p := Plugin{Type: "secret", Name: PluginName, Command: PluginName + "-" + version, Version: version}
	file := filepath.Join(t.pluginDir(), p.Command)
	if err := t.build(ctx, file, "cmd/"+PluginName, "-ldflags", "-s -w -X "+module+"/internal/version.Version="+version); err != nil {
		return Plugin{}, err
	}
	return p, p.hash(file)
}

// jwtModule is the module of Vault's JWT auth method.
const jwtModule = "github.com/hashicorp/vault-plugin-auth-jwt"

// BuildJWTPlugin builds Vault's JWT auth method as an external plugin into the labs' plugin directory, from the module
// that tools/jwt pins.
func (t *Tools) BuildJWTPlugin(ctx context.Context) (Plugin, error) {
	t.installing.Lock()
	defer t.installing.Unlock()
	folder := filepath.Join(t.root, "tools", "jwt")
	version, err := t.output(ctx, "go", "-C", folder, "list", "-m", "-f", "{{.Version}}", jwtModule)
	if err != nil {
		return Plugin{}, err
	}
	p := Plugin{Type: "auth", Name: "jwt", Command: "vault-plugin-auth-jwt-" + version, Version: version}
	file := filepath.Join(t.pluginDir(), p.Command)
	_, err = t.output(ctx, filepath.Join(t.root, "tools", "progress.sh"), "build", folder, file,
		jwtModule+"/cmd/vault-plugin-auth-jwt", "-trimpath", "-buildvcs=false")
	if err != nil {
		return Plugin{}, err
	}
	return p, p.hash(file)
}

// hash reads the plugin's file, because the plugin catalog asks for its SHA-256.
func (p *Plugin) hash(file string) error {
	binary, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("hashing the plugin: %w", err)
	}
	sum := sha256.Sum256(binary)
	p.SHA256 = hex.EncodeToString(sum[:])
	return nil
}

// RegisterArgs returns the arguments of the vault command that registers the plugin in the catalogue.
func (p Plugin) RegisterArgs() []string {
	return []string{
		"plugin", "register", "-sha256=" + p.SHA256, "-command=" + p.Command, "-version=" + p.Version, p.Type, p.Name,
	}
}

// pluginDir returns the plugin directory of every Vault server that the labs start.
func (t *Tools) pluginDir() string { return filepath.Join(t.dir, "plugins") }

// build compiles a program of this repository as the release does, and shows the progress.
func (t *Tools) build(ctx context.Context, file, pkg string, flags ...string) error {
	args := append([]string{"build", t.root, file, "./" + pkg, "-trimpath", "-buildvcs=false"}, flags...)
	_, err := t.output(ctx, filepath.Join(t.root, "tools", "progress.sh"), args...)
	return err
}

// output runs a tool in the caller's own environment and returns its standard output. The tool's error output
// goes to the progress writer while the tool runs.
func (t *Tools) output(ctx context.Context, bin string, args ...string) (string, error) {
	cmd := command(ctx, append(os.Environ(), "CGO_ENABLED=0"), bin, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, t.progress
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %s %s: %w", bin, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(out.String()), nil
}
