// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Vault is a running Vault server with Raft storage. It logs at trace level to Log and audits to Audit. It is
// a normal server, because a -dev server cannot be sealed, stopped and started over the same storage. Its CLI
// uses the root token.
type Vault struct {
	CLI
	// Name is the server's name in its cluster.
	Name string
	// Addr is the server's URL, Token its root token.
	Addr, Token string
	// Log is the file of the server's JSON log, Audit the file of its audit device.
	Log, Audit string

	lab      *Lab
	config   string
	env      []string
	unseal   string
	unsealed time.Time
	process  *process
}

const vaultConfig = `storage "raft" {
  path                   = %[1]q
  node_id                = %[5]q
  performance_multiplier = 2
}
listener "tcp" {
  address         = %[3]q
  cluster_address = %[4]q
  tls_disable     = true
}
api_addr         = "http://%[3]s"
cluster_addr     = "https://%[4]s"
plugin_directory = %[2]q
disable_mlock    = true
log_level        = "trace"
log_format       = "json"
`

// StartVault starts a new, initialized and unsealed server. It runs until ctx ends or the lab is closed.
func (l *Lab) StartVault(ctx context.Context) (*Vault, error) {
	v, err := l.newVault(ctx, "vault")
	if err != nil {
		return nil, err
	}
	if err = v.found(ctx); err != nil {
		return nil, err
	}
	return v, v.must(ctx, "audit", "enable", "file", "file_path="+v.Audit)
}

// newVault starts a server that is not initialized yet. env is added to the environment of the server and its
// plugins.
func (l *Lab) newVault(ctx context.Context, name string, env ...string) (*Vault, error) {
	api, err := l.tools.freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	cluster, err := l.tools.freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	v := &Vault{
		Name: name, Addr: "http://" + api, Log: l.path(name + ".log"), Audit: l.path("audit.log"),
		lab: l, config: l.path(name + ".hcl"), env: env,
	}
	v.CLI = l.newCLI(v.Addr)
	storage := l.path(name + ".raft")
	if err = os.Mkdir(storage, 0o700); err != nil {
		return nil, fmt.Errorf("making Vault's storage: %w", err)
	}
	text := fmt.Sprintf(vaultConfig, storage, l.tools.pluginDir(), api, cluster, name)
	if l.tools.OpenBao {
		text += openBaoConfig
	}
	if err = os.WriteFile(v.config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing Vault's configuration: %w", err)
	}
	return v, v.start(ctx)
}

// found makes the server the first node of its cluster.
func (v *Vault) found(ctx context.Context) error {
	if err := v.initialize(ctx); err != nil {
		return err
	}
	return v.Unseal(ctx)
}

// Restart stops the server and its plugins and starts the server again over the same storage.
func (v *Vault) Restart(ctx context.Context) error {
	v.process.stop()
	if err := v.start(ctx); err != nil {
		return err
	}
	return v.Unseal(ctx)
}

// Kill ends the server and its plugins with SIGKILL. Restart starts the server again.
func (v *Vault) Kill() { v.process.kill() }

// Unseal unseals the server and waits until it serves requests.
func (v *Vault) Unseal(ctx context.Context) error {
	if err := v.must(ctx, "operator", "unseal", v.unseal); err != nil {
		return err
	}
	v.unsealed = time.Now()
	return v.process.ready(ctx, func() error { return v.must(ctx, "token", "lookup") })
}

// Register adds a plugin to the server's catalogue.
func (v *Vault) Register(ctx context.Context, p Plugin) error {
	return v.must(ctx, p.RegisterArgs()...)
}

// NextTick returns when the server wakes its plugins for the first time after the given time. It wakes them once
// a minute, from the time when it was unsealed.
func (v *Vault) NextTick(after time.Time) time.Time {
	return after.Add(time.Minute - after.Sub(v.unsealed)%time.Minute)
}

// PluginPIDs returns the process IDs of this server's running plugins, according to the server's log.
func (v *Vault) PluginPIDs() ([]int, error) {
	plugins, err := v.Plugins()
	return slices.Sorted(maps.Keys(plugins)), err
}

// Plugins returns the binaries of this server's running plugins, by process ID.
func (v *Vault) Plugins() (map[int]string, error) {
	log, err := os.ReadFile(v.Log)
	if err != nil {
		return nil, fmt.Errorf("reading Vault's log: %w", err)
	}
	plugins := map[int]string{}
	for lines := bufio.NewScanner(bytes.NewReader(log)); lines.Scan(); {
		var line struct {
			Message string `json:"@message"`
			PID     int    `json:"pid"`
			ID      string `json:"id"`
			Path    string `json:"path"`
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // the banner, or a line of another format
		}
		switch line.Message {
		case "plugin started":
			plugins[line.PID] = line.Path
		case "plugin process exited":
			maps.DeleteFunc(plugins, func(pid int, _ string) bool { return strconv.Itoa(pid) == line.ID })
		}
	}
	// A killed server did not log the end of its plugin.
	maps.DeleteFunc(plugins, func(pid int, _ string) bool { return syscall.Kill(pid, 0) != nil })
	return plugins, nil
}

// start starts the server and waits until it answers, sealed or not yet initialized.
func (v *Vault) start(ctx context.Context) error {
	var err error
	// Without autopilot a node votes as soon as it has joined.
	env := append(v.lab.env("VAULT_RAFT_AUTOPILOT_DISABLE=1"), v.env...)
	if v.process, err = v.lab.start(ctx, v.Name, env, v.bin, "server", "-config="+v.config); err != nil {
		return err
	}
	return v.process.ready(ctx, func() error {
		const sealed = 2 // exit code of vault status
		status, err := v.Run(ctx, "", "status")
		if err == nil && status.Code != sealed {
			err = errors.Join(status.Err(), errors.New("not sealed"))
		}
		return err
	})
}

// initialize makes the server's only unseal key and its root token.
func (v *Vault) initialize(ctx context.Context) error {
	made, err := v.Run(ctx, "", "operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json")
	if err = errors.Join(err, made.Err()); err != nil {
		return fmt.Errorf("initializing Vault: %w", err)
	}
	var keys struct {
		Unseal []string `json:"unseal_keys_b64"`
		Root   string   `json:"root_token"`
	}
	if err = json.Unmarshal([]byte(made.Stdout), &keys); err != nil || len(keys.Unseal) != 1 {
		return fmt.Errorf("reading the keys of the new Vault: %w", err)
	}
	v.unseal, v.Token = keys.Unseal[0], keys.Root
	v.CLI = v.As(v.Token)
	return nil
}

// must runs the command. A bad exit code is an error.
func (v *Vault) must(ctx context.Context, args ...string) error {
	result, err := v.Run(ctx, "", args...)
	if err = errors.Join(err, result.Err()); err != nil {
		return fmt.Errorf("vault %s: %w", strings.Join(args[:2], " "), err)
	}
	return nil
}
