// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// stage is a state that a role can be in, how it gets there, and what follows.
type stage struct {
	condition string
	mount     string // modal if not set
	managed   bool
	refresh   time.Duration // 5s if not set
	period    time.Duration // the rotation period; 90d if not set
	life      time.Duration // of the first token; endless if not set

	enter   func(t *testing.T, c *consumed)
	reached func(c *consumed) error
	leave   func(t *testing.T, c *consumed)
	// gone: there is no answer to read any more. warns: what Agent then logs of our warning.
	gone  bool
	warns string
}

var stages = []stage{
	{condition: "fresh", leave: rotateOnce},
	{condition: "fresh", managed: true, leave: rotateOnce},
	{condition: "overdue", period: 5 * time.Second, reached: isOverdue, leave: rotateOnce, warns: "should have been rotated by"},
	{condition: "failing", managed: true, mount: "failing", period: 10 * time.Second, reached: hasFailed, leave: repair},
	{condition: "expiring", refresh: 10 * time.Second, life: 50 * time.Second, reached: isRefused, leave: rotateOnce, warns: "expired on"},
	{condition: "refused", enter: deleteToken, reached: isRefused, leave: rotateOnce},
	{condition: "refused", managed: true, enter: deleteToken, reached: isRefused, leave: rotateOnce},
	{condition: "twice", leave: rotateTwice},
	{condition: "twice", managed: true, leave: rotateTwice},
	{condition: "deleted", enter: deleteRole, gone: true},
	{condition: "deleted", managed: true, enter: deleteRole, gone: true},
	{condition: "down", mount: "down", leave: rotateInVain},
	{condition: "down", managed: true, mount: "down", period: 10 * time.Second, reached: hasFailed, leave: rotateInVain},
}

func isOverdue(c *consumed) error {
	state, err := c.standing("state")
	if err == nil && state != "overdue" {
		err = fmt.Errorf("it is %s", state)
	}
	return err
}

// hasFailed is reached after a scheduled rotation that failed. With more of them the role is overdue too.
func hasFailed(c *consumed) error {
	_, err := c.standing("attempts")
	return err
}

// standing is a field of how the role's rotation stands.
func (c *consumed) standing(field string) (string, error) {
	now, err := c.Run(c.ctx, "", "read", "-field="+field, c.mount+"/rotate/"+c.name)
	return strings.TrimSpace(now.Stdout), errors.Join(err, now.Err())
}

// isRefused is reached when Modal refuses the token in the file.
func isRefused(c *consumed) error {
	for _, consumer := range c.consumers {
		if consumer.File == "" {
			continue
		}
		result, err := c.lab.SDK(c.ctx, consumer.File)
		if err != nil || !strings.Contains(result.Stderr, "Unauthenticated") {
			return errors.Join(fmt.Errorf("modal accepts the token of %s", consumer.Name), err)
		}
	}
	return nil
}

func deleteToken(t *testing.T, c *consumed) {
	t.Helper()
	require.NoError(t, c.emulator.DeleteToken(c.ctx, c.tokens[0].ID))
}

func deleteRole(t *testing.T, c *consumed) {
	t.Helper()
	c.vault(t, "delete", c.mount+"/roles/"+c.name)
}

func rotateOnce(t *testing.T, c *consumed) {
	t.Helper()
	require.NoError(t, c.rotateNow(t).Err(), c.name)
	c.rotated = time.Now()
	c.note(t)
}

func rotateTwice(t *testing.T, c *consumed) {
	t.Helper()
	rotateOnce(t, c)
	rotateOnce(t, c)
}

// repair gives the engine an admin token again.
func repair(t *testing.T, c *consumed) {
	t.Helper()
	c.administer(t, c.mount, c.emulator.URL)
	rotateOnce(t, c)
}

func rotateInVain(t *testing.T, c *consumed) {
	t.Helper()
	require.Contains(t, c.rotateNow(t).Stderr, "Code: 502", c.name)
}

func (c *consumed) rotateNow(t *testing.T) lab.Result {
	t.Helper()
	path := c.mount + "/rotate/" + c.name
	if c.managed {
		return c.run(t, c.CLI, "", "write", "-f", path)
	}
	token := c.newToken(t)
	return c.run(t, c.CLI, token.Secret, "write", path, "token_id="+token.ID, "token_secret=-")
}
