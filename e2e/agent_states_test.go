// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// consumedRole is a role in a state, and two real Agents that read it. The first Agent writes the .modal.toml
// of creds/<role>/toml. The second runs a program with the token of creds/<role>.
type consumedRole struct {
	*world
	stage
	name, path string // path is <mount>/creds/<name>
	consumers  []*lab.Consumer
	tokens     []lab.Token // the role's tokens, in order
	rotated    time.Time
	followed   map[string]string // what the consumers did after a rotation, by their names
	since      time.Time         // the start of the current phase
}

// Each phase waits for a clock, so all roles go through the phases at the same time.
func TestAgent_GetsTheNewTokenInTimeInEachStateOfARole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line, err := w.emulator.OpenLine(w.ctx)
	require.NoError(t, err)
	admins := map[string]lab.Token{}
	for _, mount := range []string{"modal", "failing", "down"} {
		if mount != "modal" {
			w.vault(t, plugin.EnableArgs(mount)...)
		}
		admins[mount] = w.administer(t, mount, w.emulator.URL)
	}
	w.administer(t, "down", line.URL)
	roles := make([]*consumedRole, len(stages))
	for i, s := range stages {
		roles[i] = w.newConsumed(t, s)
	}
	require.NoError(t, w.emulator.DeleteToken(w.ctx, admins["failing"].ID))
	require.NoError(t, line.Cut())

	started := time.Now()
	defer func() { t.Logf("the states took %s", time.Since(started).Round(time.Second)) }()
	for _, phase := range []func(t *testing.T, c *consumedRole){
		startConsumers, requireFirstToken, enterState, awaitState, begin, requireUndisturbed,
		leaveState, requireFollowed, begin, requireUndisturbed, requirePatience,
	} {
		for _, c := range roles {
			phase(t, c)
		}
	}
}

// administer configures a mount for the emulator, with an admin token of its own.
func (w *world) administer(t *testing.T, mount, server string) lab.Token {
	t.Helper()
	admin := w.newToken(t)
	require.NoError(t, w.run(t, w.CLI, admin.Secret,
		"write", mount+"/config", "server_url="+server, "token_id="+admin.ID, "token_secret=-").Err())
	return admin
}

func (w *world) newConsumed(t *testing.T, s stage) *consumedRole {
	t.Helper()
	s.mount, s.refresh = cmp.Or(s.mount, "modal"), cmp.Or(s.refresh, 5*time.Second)
	c := &consumedRole{world: w, stage: s, followed: map[string]string{}}
	c.name = s.condition + map[bool]string{true: "-managed", false: "-static"}[s.managed]
	c.path = s.mount + "/creds/" + c.name
	args := []string{"write", s.mount + "/roles/" + c.name, "refresh_interval=" + s.refresh.String()}
	if s.period != 0 {
		args = append(args, "rotation_period="+s.period.String())
	}
	if s.managed && s.period != 0 {
		args = append(args, "grace_period="+(10*s.period).String())
	}
	if s.managed {
		c.vault(t, append(args, "type=managed", "environment_roles=main=contributor,staging=viewer")...)
		c.remember(t)
		return c
	}
	token, err := w.emulator.NewToken(w.ctx)
	if s.life != 0 {
		token, err = w.emulator.NewExpiringToken(w.ctx, s.life)
	}
	require.NoError(t, err)
	require.NoError(t, w.run(t, w.CLI, token.Secret, append(args, "type=static", "token_id="+token.ID, "token_secret=-")...).Err())
	c.remember(t)
	return c
}

// remember adds the role's current token to the known tokens.
func (c *consumedRole) remember(t *testing.T) {
	t.Helper()
	now := c.read(t, c.path)
	c.tokens = append(c.tokens, lab.Token{ID: fmt.Sprint(now["token_id"]), Secret: fmt.Sprint(now["token_secret"])})
}

func startConsumers(t *testing.T, c *consumedRole) {
	t.Helper()
	require.NoError(t, c.run(t, c.CLI, fmt.Sprintf("path %q { capabilities = [\"read\"] }\npath %q { capabilities = [\"read\"] }", c.path, c.path+"/toml"), "policy", "write", c.name, "-").Err())
	for kind, start := range map[string]func(string, string) (*lab.Consumer, error){
		"hook": func(name, token string) (*lab.Consumer, error) {
			return c.lab.StartHook(c.ctx, c.Vault, name, token, c.path+"/toml")
		},
		"program": func(name, token string) (*lab.Consumer, error) {
			return c.lab.StartProgram(c.ctx, c.Vault, name, token, c.path)
		},
	} {
		name := kind + "-" + c.name
		token := c.vault(t, "token", "create", "-policy="+c.name, "-display-name="+name, "-field=token")
		consumer, err := start(name, strings.TrimSpace(token))
		require.NoError(t, err)
		c.consumers = append(c.consumers, consumer)
	}
}

// requireFirstToken waits until each consumer has run with the role's first token.
func requireFirstToken(t *testing.T, c *consumedRole) {
	t.Helper()
	for _, consumer := range c.consumers {
		require.NoError(t, lab.Until(c.ctx, consumer.Name+" to run", func() error {
			_, _, err := consumer.Tokens()
			return errors.Join(consumer.Alive(), err)
		}))
	}
	c.requireTokens(t)
}

// requireTokens asserts that each consumer ran once with each complete token, and that the file contains the
// last token. A consumer may miss a token that was replaced within one refresh interval.
func (c *consumedRole) requireTokens(t *testing.T) {
	t.Helper()
	for _, consumer := range c.consumers {
		tokens, _, err := consumer.Tokens()
		require.NoError(t, err, consumer.Name)
		want := c.tokens
		if len(want) > 2 && len(tokens) == 2 {
			want = []lab.Token{want[0], want[2]}
		}
		require.True(t, slices.Equal(want, tokens), "%s ran with %v instead of %v (IDs; a secret may differ)", consumer.Name, tokens, want)
		if consumer.File == "" {
			continue
		}
		text := c.text(t, consumer.File)
		last := c.tokens[len(c.tokens)-1]
		require.True(t, strings.Contains(text, strconv.Quote(last.ID)) && strings.Contains(text, strconv.Quote(last.Secret)), consumer.Name)
		info, err := os.Stat(consumer.File)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), consumer.Name)
	}
}

func enterState(t *testing.T, c *consumedRole) {
	t.Helper()
	if c.enter != nil {
		c.enter(t, c)
	}
}

func awaitState(t *testing.T, c *consumedRole) {
	t.Helper()
	if c.reached != nil {
		require.NoError(t, lab.Until(c.ctx, c.name+" to be "+c.condition, func() error { return c.reached(c) }))
	}
}

func begin(t *testing.T, c *consumedRole) {
	t.Helper()
	c.since = time.Now()
}

// requireUndisturbed asserts that the Agents continue to read and change nothing. If there is something to
// read, they read at least twice.
func requireUndisturbed(t *testing.T, c *consumedRole) {
	t.Helper()
	for _, consumer := range c.consumers {
		require.NoError(t, lab.Until(c.ctx, consumer.Name+" to read again", func() error {
			reads, err := c.Reads(consumer)
			reads = slices.DeleteFunc(reads, func(read lab.Read) bool { return read.Asked.Before(c.since) })
			if err == nil && !c.gone && len(reads) < 2 {
				err = fmt.Errorf("the Agent has read %d times", len(reads))
			}
			return errors.Join(consumer.Alive(), err)
		}))
		if c.warns != "" && len(c.tokens) == 1 {
			require.True(t, strings.Contains(c.text(t, consumer.Log), c.warns), "%s did not log %q", consumer.Name, c.warns)
		}
	}
	c.requireTokens(t)
}

func leaveState(t *testing.T, c *consumedRole) {
	t.Helper()
	if c.leave != nil {
		c.leave(t, c)
	}
}

// requireFollowed asserts that the consumers ran with the new token in time: after the first read that the
// hint asked for. The test only logs the seconds, because a busy machine adds its own.
func requireFollowed(t *testing.T, c *consumedRole) {
	t.Helper()
	if len(c.tokens) == 1 {
		return
	}
	for _, consumer := range c.consumers {
		require.NoError(t, lab.Until(c.ctx, consumer.Name+" to use the new token", func() error {
			tokens, _, err := consumer.Tokens()
			if err == nil && tokens[len(tokens)-1] != c.tokens[len(c.tokens)-1] {
				err = fmt.Errorf("the consumer has %s", tokens[len(tokens)-1])
			}
			return errors.Join(consumer.Alive(), err)
		}))
		_, last, err := consumer.Tokens()
		require.NoError(t, err)
		c.followed[consumer.Name] = fmt.Sprintf("the new token after %.1fs of %s, ", last.Sub(c.rotated).Seconds(), c.refresh)
		reads, err := c.Reads(consumer)
		require.NoError(t, err)
		between := slices.DeleteFunc(reads, func(read lab.Read) bool { return read.Asked.Before(c.rotated) || read.Answered.After(last) })
		require.LessOrEqual(t, len(between), 1, "%s read again before it used the new token", consumer.Name)
		if consumer.File != "" {
			require.NoError(t, c.authenticate(t, consumer.File).Err(), consumer.Name)
		}
	}
}

// requirePatience asserts that no Agent read again before the hint of its last answer was over.
func requirePatience(t *testing.T, c *consumedRole) {
	t.Helper()
	for _, consumer := range c.consumers {
		reads, err := c.Reads(consumer)
		require.NoError(t, err)
		hints := 0
		for i, read := range reads[:len(reads)-1] {
			if read.Hint == 0 {
				require.True(t, c.gone, "%s got an answer without a hint", consumer.Name)
				continue
			}
			hints++
			require.LessOrEqual(t, read.Hint, c.refresh, consumer.Name)
			require.GreaterOrEqual(t, reads[i+1].Asked.Sub(read.Answered), read.Hint, "%s reads more often than its hint allows", consumer.Name)
		}
		require.NotZero(t, hints, "%s got no hint", consumer.Name)
		t.Logf("%s: %s%d reads", consumer.Name, c.followed[consumer.Name], len(reads))
	}
}
