// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

// job is a dynamic role.
var job = map[string]any{"type": "dynamic", "environment_roles": "main=viewer"}

func TestReplication_DynamicRoleIsReadAndEndedWhereItMayBeWritten(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.System.DefaultLeaseTTLVal, m.System.MaxLeaseTTLVal = time.Hour, 30*mounttest.Day
	m.Write("roles/job", job)
	lease := m.Must(logical.ReadOperation, "creds/job", nil).Secret
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationPerformanceSecondary, consts.ReplicationDRSecondary} {
		m.SetReplication(state)
		m.Storage.Heal()
		calls := len(m.Modal.Calls(""))
		for _, path := range mounttest.EveryForm("job") {
			_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.ReadOperation, Path: path, Storage: m.Storage})
			require.ErrorIs(t, err, logical.ErrReadOnly, path)
		}
		_, err := m.LeaseRequest(logical.RevokeOperation, lease)
		require.ErrorIs(t, err, logical.ErrReadOnly, "Vault forwards this error to the node that may write")
		_, err = m.LeaseRequest(logical.RenewOperation, lease)
		require.NoError(t, err, "a renewal reads storage alone")
		require.Empty(t, m.Storage.Recorded())
		require.Len(t, m.Modal.Calls(""), calls)
	}
}

func TestReplication_OtherNodesLeaveEachCallToModalToTheOneThatMayWrite(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	old := m.TokenID("ci")
	m.Write("rotate/ci", nil)
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationPerformanceSecondary} {
		m.SetReplication(state)
		m.Storage.Heal()
		calls := len(m.Modal.Calls(""))
		for _, ask := range []struct {
			op   logical.Operation
			path string
			data map[string]any
		}{
			{logical.UpdateOperation, "lookup", map[string]any{"token_id": old}},
			{logical.UpdateOperation, "verify/ci", nil},
			{logical.ListOperation, "orphans", nil},
			{logical.UpdateOperation, "orphans", nil},
			{logical.ReadOperation, "revocations/" + old, nil},
			{logical.UpdateOperation, "config/rotate", m.NewToken()},
			{logical.UpdateOperation, "config/approval", nil},
			{logical.UpdateOperation, "rotate/ci", map[string]any{"dry_run": true}},
		} {
			_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: ask.op, Path: ask.path, Data: ask.data, Storage: m.Storage})
			require.ErrorIs(t, err, logical.ErrReadOnly, "%s %s", ask.op, ask.path)
		}
		require.Empty(t, m.Storage.Recorded())
		require.Len(t, m.Modal.Calls(""), calls)
	}
}

func TestReplication_EveryNodeAnswersWhatStorageTells(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.SetReplication(consts.ReplicationPerformanceStandby)
	calls := len(m.Modal.Calls(""))

	for _, path := range []string{"status", "config", "roles/ci", "rotate/ci", "creds/ci"} {
		require.NotEmpty(t, m.Read(path), path)
	}
	for _, path := range []string{"roles", "rotate", "revocations"} {
		m.List(path)
	}

	require.Len(t, m.Modal.Calls(""), calls)
}

func TestReplication_LocalMountOfASecondaryWorksByItself(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", job)
	m.AddManaged("ci", map[string]any{"rotation_period": "1d", "grace_period": "1h"})
	m.SetReplication(consts.ReplicationPerformanceSecondary)
	m.System.LocalMountVal = true

	lease := m.Must(logical.ReadOperation, "creds/job", nil).Secret
	_, err := m.LeaseRequest(logical.RevokeOperation, lease)
	require.NoError(t, err)
	before := m.TokenID("ci")
	m.Clock.Advance(25 * time.Hour)
	m.Minutes(2)

	require.NotEqual(t, before, m.TokenID("ci"), "the worker runs")
	m.Write("roles/job", map[string]any{"ttl": "30m"})
}

func TestReplication_EveryWriteAndCallToModalIsForwarded(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("ci")
	forwardedReads := map[string]bool{"orphans list": true, "revocations/ak-1 read": true} // they ask Modal
	seen := 0
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationPerformanceSecondary} {
		m.SetReplication(state)
		for _, path := range []string{
			"config", "config/rotate", "config/approval", "roles/ci", "rotate/ci", "rotate/ci/approval", "verify/ci", "lookup",
			"revocations/", "revocations/ak-1", "orphans", "roles/", "rotate/", "status",
		} {
			route := m.Route(path)
			require.NotNil(t, route, path)
			for op := range route.Operations {
				if (op == logical.ReadOperation || op == logical.ListOperation) && !forwardedReads[path+" "+string(op)] {
					continue
				}
				calls := len(m.Modal.Calls(""))
				_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: path, Storage: m.Storage})
				require.ErrorIs(t, err, logical.ErrReadOnly, "%s %s", op, path)
				require.Len(t, m.Modal.Calls(""), calls)
				seen++
			}
		}
	}
	require.Greater(t, seen, 30)
}
