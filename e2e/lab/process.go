// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// goodbye is how long a program may take to stop by itself.
const goodbye = 10 * time.Second

// process is a running program, the leader of its own process group. The programs that it starts (Vault's
// plugins) end with it, and a Ctrl-C in the terminal reaches it only through the lab.
type process struct {
	name   string
	log    string
	pid    int
	cancel context.CancelFunc
	done   chan struct{}
}

// start runs a program until ctx ends or the lab is closed. Its output and its errors go to <name>.log.
func (l *Lab) start(ctx context.Context, name string, env []string, bin string, args ...string) (*process, error) {
	log, err := os.OpenFile(l.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the program has its own handle

	ctx, cancel := context.WithCancel(ctx)
	cmd := command(ctx, env, bin, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err = cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, log: log.Name(), pid: cmd.Process.Pid, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		defer killGroup(p.pid)
		_ = cmd.Wait() // the log shows how the program ended
	}()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes = append(l.processes, p)
	return p, nil
}

// command returns a command in its own process group. The command is asked to stop when ctx ends.
func command(ctx context.Context, env []string, bin string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = goodbye
	return cmd
}

// killGroup kills the remaining processes of a process group.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// stop asks the program to stop, kills it if it takes too long, and returns when the program is gone.
func (p *process) stop() {
	p.cancel()
	<-p.done
}

// kill ends the program and its children at once, as a crash of the machine would.
func (p *process) kill() {
	killGroup(p.pid)
	p.stop()
}

// ready waits until check succeeds. It gives up at once if the program has stopped.
func (p *process) ready(ctx context.Context, check func() error) error {
	return Until(ctx, p.name+" to answer", func() error {
		select {
		case <-p.done:
			return backoff.Permanent(fmt.Errorf("%s stopped and printed: %w", p.name, p.said()))
		default:
			return check()
		}
	})
}

// said returns the masked end of the program's log as an error.
func (p *process) said() error {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err
	}
	return errors.New(Mask(string(text[max(0, len(text)-2000):])))
}
