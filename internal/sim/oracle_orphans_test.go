// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// A restored snapshot may contain the unfinished creation of a service user that became a role's current one, and
// was used, after the snapshot was taken.
func TestOracle_ACandidateThatWasUsedLaterMayBeAnOrphan(t *testing.T) {
	t.Parallel()
	now := FirstDay
	server := modaltest.New(modaltest.WithClock(func() time.Time { return now }))
	t.Cleanup(server.Close)
	run := &Run{disk: newDisk(), modal: server, modals: modals{server}}
	o := newOracle(run)
	workspace := server.AddWorkspace(home)
	used, err := workspace.CreateServiceUser(prefix + "ci-used")
	require.NoError(t, err)
	_, err = workspace.CreateServiceUser(prefix + "ci-unused")
	require.NoError(t, err)
	now = now.Add(time.Hour)
	require.True(t, server.Use(used.ID, used.Secret))

	unfinished := func(name string) storedRevocation {
		rev := storedRevocation{key: name, Reason: "unfinished"}
		rev.Identity, rev.IdentityType = name, "service_user"
		return rev
	}
	stored := &truth{roles: map[string]storedRole{"x": {}}, current: map[string]storedToken{"x": {Identity: prefix + "x", IdentityType: "service_user"}}}
	stored.revocations = []storedRevocation{unfinished(prefix + "ci-used"), unfinished(prefix + "ci-unused")}

	require.Empty(t, o.tracker(stored, prefix+"ci-used"))
	require.Equal(t, "revocation "+prefix+"ci-unused", o.tracker(stored, prefix+"ci-unused"))
	require.Equal(t, "role x", o.tracker(stored, prefix+"x"))
	require.Empty(t, o.tracker(stored, prefix+"copy"))
}
