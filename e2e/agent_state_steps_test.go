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

// stage is a state of a role: how the role gets there, and what follows.
type stage struct {
	condition string
	mount     string // modal by default
	managed   bool
	refresh   time.Duration // 5s by default
	period    time.Duration // the rotation period; 90d by default
	life      time.Duration // of the first token; unlimited by default

	enter   func(t *testing.T, c *consumedRole)
	reached func(c *consumedRole) error
	leave   func(t *testing.T, c *consumedRole)
	// gone means that reads have no answer any more. warns is the part of the engine's warning that the Agent
	// logs.
	gone  bool
	warns string
}

var stages = []stage{
	{condition: "fresh", leave: rotateOnce},
	{condition: "fresh", managed: true, leave: rotateOnce},
	{condition: "overdue", period: 5 * time.Second, reached: isOverdue, leave: rotateOnce, warns: "should have been rotated by"},
	{condition: "failing", managed: true, mount: "failing", period: 10 * time.Second, reached: hasFailed, leave: repair},
	{condition: "expiring", refresh: 10 * time.Second, life: 50 * time.Second, reached: isRejected, leave: rotateOnce, warns: "expired on"},
	{condition: "rejected", enter: deleteToken, reached: isRejected, leave: rotateOnce},
	{condition: "rejected", managed: true, enter: deleteToken, reached: isRejected, leave: rotateOnce},
	{condition: "twice", leave: rotateTwice},
	{condition: "twice", managed: true, leave: rotateTwice},
	{condition: "deleted", enter: deleteRole, gone: true},
	{condition: "deleted", managed: true, enter: deleteRole, gone: true},
	{condition: "down", mount: "down", leave: rotateInVain},
	{condition: "down", managed: true, mount: "down", period: 10 * time.Second, reached: hasFailed, leave: rotateInVain},
}

func isOverdue(c *consumedRole) error {
	state, err := c.rotationField("state")
	if err == nil && state != "overdue" {
		err = fmt.Errorf("the role's state is %s", state)
	}
	return err
}

// hasFailed returns nil after a scheduled rotation has failed. After more failures the role is overdue too.
func hasFailed(c *consumedRole) error {
	_, err := c.rotationField("attempts")
	return err
}

// rotationField reads a field of rotate/<role>.
func (c *consumedRole) rotationField(field string) (string, error) {
	now, err := c.Run(c.ctx, "", "read", "-field="+field, c.mount+"/rotate/"+c.name)
	return strings.TrimSpace(now.Stdout), errors.Join(err, now.Err())
}

// isRejected returns nil once Modal rejects the token in the file.
func isRejected(c *consumedRole) error {
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

func deleteToken(t *testing.T, c *consumedRole) {
	t.Helper()
	require.NoError(t, c.emulator.DeleteToken(c.ctx, c.tokens[0].ID))
}

func deleteRole(t *testing.T, c *consumedRole) {
	t.Helper()
	c.vault(t, "delete", c.mount+"/roles/"+c.name)
}

func rotateOnce(t *testing.T, c *consumedRole) {
	t.Helper()
	require.NoError(t, c.rotateNow(t).Err(), c.name)
	c.rotated = time.Now()
	c.remember(t)
}

func rotateTwice(t *testing.T, c *consumedRole) {
	t.Helper()
	rotateOnce(t, c)
	rotateOnce(t, c)
}

// repair gives the engine a new admin token.
func repair(t *testing.T, c *consumedRole) {
	t.Helper()
	c.administer(t, c.mount, c.emulator.URL)
	rotateOnce(t, c)
}

func rotateInVain(t *testing.T, c *consumedRole) {
	t.Helper()
	require.Contains(t, c.rotateNow(t).Stderr, "Code: 502", c.name)
}

func (c *consumedRole) rotateNow(t *testing.T) lab.Result {
	t.Helper()
	path := c.mount + "/rotate/" + c.name
	if c.managed {
		return c.run(t, c.CLI, "", "write", "-f", path)
	}
	token := c.newToken(t)
	return c.run(t, c.CLI, token.Secret, "write", path, "token_id="+token.ID, "token_secret=-")
}
