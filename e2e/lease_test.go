// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// lease is the answer to a read of the dynamic role job.
type lease struct {
	lab.Token
	id        string
	seconds   int
	renewable bool
	data      data
}

// newLeaseWorld is newManagedWorld with the dynamic role job and optional fields of that role.
func newLeaseWorld(t *testing.T, fields ...string) *world {
	t.Helper()
	w := newManagedWorld(t)
	w.newJob(t, fields...)
	return w
}

func (w *world) newJob(t *testing.T, fields ...string) {
	t.Helper()
	w.vault(t, append([]string{"write", "modal/roles/job", "type=dynamic", "environment_roles=staging=contributor", "ttl=10m", "max_ttl=1h"}, fields...)...)
}

// lease reads creds of the role job.
func (w *world) lease(t *testing.T) lease {
	t.Helper()
	return w.leaseAs(t, w.CLI)
}

func (w *world) leaseAs(t *testing.T, cli lab.CLI) lease {
	t.Helper()
	read := w.run(t, cli, "", "read", "-format=json", "modal/creds/job")
	require.NoError(t, read.Err())
	return parseLease(t, read.Stdout)
}

func parseLease(t *testing.T, text string) lease {
	t.Helper()
	var answer struct {
		ID        string `json:"lease_id"`
		Seconds   int    `json:"lease_duration"`
		Renewable bool   `json:"renewable"`
		Data      data   `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &answer))
	return lease{
		lab.Token{ID: fmt.Sprint(answer.Data["token_id"]), Secret: fmt.Sprint(answer.Data["token_secret"])},
		answer.ID, answer.Seconds, answer.Renewable, answer.Data,
	}
}

// requireNoUsers asserts that Modal has no service user of the mount and that the revocation queue is empty.
func (w *world) requireNoUsers(t *testing.T) {
	t.Helper()
	require.Empty(t, w.state(t).ServiceUsers)
	w.requireQueueEmpty(t)
}

// awaitNoUsers waits until Modal has no service user, without any request to Vault.
func (w *world) awaitNoUsers(t *testing.T) {
	t.Helper()
	require.NoError(t, lab.Until(w.ctx, "every service user to be gone", func() error {
		if left := len(w.state(t).ServiceUsers); left > 0 {
			return fmt.Errorf("%d service users exist", left)
		}
		return nil
	}))
}

func TestLease_TokenReachesOnlyItsEnvironmentWithItsRole(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	var err error
	p.Vault, err = p.lab.StartVault(p.ctx)
	require.NoError(t, err)
	p.nodes = []*lab.Vault{p.Vault}
	p.enable(t)
	p.newAdmin(t)
	p.newJob(t)
	p.vault(t, "write", "modal/roles/look", "type=dynamic", "environment_roles=staging=viewer")
	// as runs Modal's own command line with the environment that a job gets from a lease.
	as := func(role string, args ...string) lab.Result {
		t.Helper()
		env := []string{"NO_COLOR=1", "COLUMNS=200"}
		for name, value := range p.texts(t, p.CLI, "modal/creds/"+role+"/env") {
			env = append(env, name+"="+value)
		}
		result, err := p.lab.RunClient(p.ctx, p.client, args, env...)
		require.NoError(t, err)
		return result
	}
	for _, role := range []string{"job", "look"} {
		listed := as(role, "environment", "list", "--json")
		require.NoError(t, listed.Err())
		require.Contains(t, listed.Stdout, "staging")
		require.NotContains(t, listed.Stdout, "main")
		for _, elsewhere := range []string{"main", "nowhere"} {
			other := as(role, "secret", "create", "--env", elsewhere, "key", "A=1")
			require.NotZero(t, other.Code, elsewhere)
			require.Contains(t, other.Stdout+other.Stderr, "not found", "%s must look as if it did not exist", elsewhere)
		}
	}
	viewer := as("look", "secret", "create", "--env", "staging", "key", "A=1")
	require.NotZero(t, viewer.Code)
	require.Contains(t, viewer.Stdout+viewer.Stderr, "Viewers cannot create")
	contributor := as("job", "secret", "create", "--env", "staging", "key", "A=1")
	require.NoError(t, contributor.Err())
	manages := as("job", "environment", "roles", "update", "staging", "operator", "--role", "viewer")
	require.NotZero(t, manages.Code, "the token must not raise its own role")

	p.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/job")
	p.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/look")
	p.requireNoUsers(t)
}

func TestLease_CanBeRenewedAndRevokedAndEndsWithItsVaultToken(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	first, second := w.lease(t), w.lease(t)
	require.NotEqual(t, first.ID, second.ID)
	require.Equal(t, 600, first.seconds)
	require.True(t, first.renewable)
	for _, key := range []string{"ttl", "rotation_period", "last_vault_rotation"} {
		require.NotContains(t, first.data, key, "a lease replaces this field")
	}
	w.requireAccepted(t, first.Token)

	renewed := parseLease(t, w.vault(t, "lease", "renew", "-format=json", "-increment=30m", first.id))
	require.InDelta(t, 1800, renewed.seconds, 5)
	capped := parseLease(t, w.vault(t, "lease", "renew", "-format=json", "-increment=48h", first.id))
	require.LessOrEqual(t, capped.seconds, 3600, "a renewal must not pass max_ttl")

	w.vault(t, "lease", "revoke", "-sync", first.id)
	w.requireRejected(t, first.Token)
	w.requireAccepted(t, second.Token)
	require.NotZero(t, w.run(t, w.CLI, "", "lease", "renew", first.id).Code)
	w.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/job")
	w.requireRejected(t, second.Token)
	w.requireNoUsers(t)

	parent := w.policyToken(t, `path "modal/creds/job" { capabilities = ["read"] }`)
	child := w.leaseAs(t, w.As(parent))
	w.requireAccepted(t, child.Token)
	w.vault(t, "token", "revoke", parent)
	w.awaitNoUsers(t)
	w.requireRejected(t, child.Token)
}

func TestLease_AWrappedReadCreatesOneLeaseAndCanBeUnwrappedOnce(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	wrapped := strings.TrimSpace(w.vault(t, "read", "-wrap-ttl=60s", "-field=wrapping_token", "modal/creds/job"))
	require.Len(t, w.state(t).ServiceUsers, 1)
	got := parseLease(t, w.vault(t, "unwrap", "-format=json", wrapped))
	w.requireAccepted(t, got.Token)
	require.Equal(t, w.onlyUser(t).TokenID, got.ID)
	require.NotZero(t, w.run(t, w.CLI, "", "unwrap", wrapped).Code)
	require.NotEmpty(t, got.id)
	w.vault(t, "lease", "revoke", "-sync", got.id)
	w.requireRejected(t, got.Token)
	w.requireNoUsers(t)
}

func TestLease_DisablingTheMountRevokesAllLeases(t *testing.T) {
	t.Parallel()
	w := newLeaseWorld(t)
	token := w.lease(t)
	w.lease(t)
	w.vault(t, "secrets", "disable", "modal/")
	require.Empty(t, w.state(t).ServiceUsers)
	w.requireRejected(t, token.Token)
	require.NotContains(t, w.vault(t, "secrets", "list"), "modal/")
}

// When Vault starts to disable a mount, it stops to route requests to it. If the disabling fails, the mount
// stays unreachable and must be disabled again. The engine continues its work meanwhile.
func TestLease_DisablingTheMountDuringAnOutageFailsWithTwoRemedies(t *testing.T) {
	t.Parallel()
	for name, out := range map[string]func(t *testing.T, w *world){
		"wait for Modal": func(t *testing.T, w *world) {
			t.Helper()
			require.NoError(t, w.emulator.SetOutage(w.ctx, false))
			require.NoError(t, lab.Until(w.ctx, "the mount to be disabled, within a minute or so", func() error {
				result, err := w.Run(w.ctx, "", "secrets", "disable", "modal/")
				return cmp.Or(err, result.Err())
			}))
			require.Empty(t, w.state(t).ServiceUsers)
		},
		"forget the leases": func(t *testing.T, w *world) {
			t.Helper()
			w.vault(t, "lease", "revoke", "-force", "-prefix", "modal/creds/job")
			w.vault(t, "secrets", "disable", "modal/")
			require.NoError(t, w.emulator.SetOutage(w.ctx, false))
			require.Len(t, w.state(t).ServiceUsers, 3, "the revocation queue is gone with the mount, so the service users exist until they expire")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLeaseWorld(t)
			w.vault(t, "write", "modal/config", "request_timeout=2s")
			for range 3 {
				w.lease(t)
			}
			require.NoError(t, w.emulator.SetOutage(w.ctx, true))
			failed := w.run(t, w.CLI, "", "secrets", "disable", "modal/")
			require.Equal(t, 2, failed.Code)
			for _, said := range []string{
				"(1 / 3)", "the control plane is down", "once Modal answers", "vault lease revoke -force -prefix modal/creds/job",
			} {
				require.Contains(t, failed.Stderr, said)
			}
			require.Contains(t, w.vault(t, "secrets", "list"), "modal/", "the mount is still there")
			require.NotZero(t, w.run(t, w.CLI, "", "read", "modal/config").Code, "and out of reach")
			out(t, w)
			require.NotContains(t, w.vault(t, "secrets", "list"), "modal/")
		})
	}
}

func TestLease_TwoHundredFromSixteenClientsLeaveNoServiceUser(t *testing.T) {
	t.Parallel()
	const leases, clients = 200, 16
	w := newLeaseWorld(t)
	require.NoError(t, w.emulator.Slow(w.ctx, "*", 50*time.Millisecond))
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		took  []time.Duration
		ids   []string
		todo  = make(chan struct{}, leases)
	)
	for range leases {
		todo <- struct{}{}
	}
	close(todo)
	began := time.Now()
	for range clients {
		group.Go(func() {
			for range todo {
				start := time.Now()
				status, id := w.readLease(t)
				mu.Lock()
				took, ids = append(took, time.Since(start)), append(ids, id)
				mu.Unlock()
				if status != 200 || id == "" {
					t.Errorf("a read answered %d", status)
				}
			}
		})
	}
	group.Wait()
	all := time.Since(began)
	slices.Sort(took)
	t.Logf("%d leases from %d clients with 50 ms a call: %.1f a second, p50 %s, p99 %s", leases, clients,
		leases/all.Seconds(), took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond))
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), leases)
	require.Len(t, w.state(t).ServiceUsers, leases)
	w.requireLeasesTracked(t)

	began = time.Now()
	w.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/job")
	t.Logf("vault lease revoke -prefix took %s", time.Since(began).Round(time.Millisecond))
	w.requireNoUsers(t)
}

// readLease reads as a program does. That costs less than running a command.
func (w *world) readLease(t *testing.T) (status int, leaseID string) {
	t.Helper()
	status, body, err := w.request("modal/creds/job")
	if err != nil {
		t.Errorf("a read failed: %v", err)
		return 0, ""
	}
	var answer struct {
		ID string `json:"lease_id"`
	}
	if err = json.Unmarshal(body, &answer); err != nil {
		t.Errorf("an answer is not JSON: %v", err)
	}
	return status, answer.ID
}

// requireLeasesTracked asserts that the revocation queue names every service user.
func (w *world) requireLeasesTracked(t *testing.T) {
	t.Helper()
	known := w.list(t, "modal/revocations")
	for _, user := range w.state(t).ServiceUsers {
		require.Contains(t, known, user.Name)
	}
}

// Vault gives up on a lease after six tries, which takes ten minutes. OUTAGE_TRIES=6 waits for that. The
// third try comes after half a minute.
func TestLease_RevokedDuringAnOutageEndsWithinTwoTicksAfterIt(t *testing.T) {
	t.Parallel()
	tries, err := strconv.Atoi(cmp.Or(os.Getenv("OUTAGE_TRIES"), "3"))
	require.NoError(t, err)
	w := newLeaseWorld(t)
	w.vault(t, "write", "modal/config", "request_timeout=2s")
	tokens := []lease{w.lease(t), w.lease(t), w.lease(t)}
	require.NoError(t, w.emulator.SetOutage(w.ctx, true))
	began := time.Now()
	for _, token := range tokens {
		w.vault(t, "lease", "revoke", token.id)
	}
	require.NoError(t, lab.UntilWithin(w.ctx, 20*time.Minute, "Vault to try each lease that often", func() error {
		if tried := strings.Count(w.file(t, w.Log), `"failed to revoke lease`); tried < tries*len(tokens) {
			return fmt.Errorf("Vault tried %d times", tried)
		}
		return nil
	}))
	t.Logf("Vault tried %d times in %s", tries, time.Since(began).Round(time.Second))
	require.Len(t, w.state(t).ServiceUsers, len(tokens))

	require.NoError(t, w.emulator.SetOutage(w.ctx, false))
	began = time.Now()
	w.awaitNoUsers(t)
	took := time.Since(began)
	t.Logf("the service users were gone %s after Modal answered again", took.Round(time.Second))
	require.Less(t, took, 2*time.Minute+10*time.Second)
	for _, token := range tokens {
		w.requireRejected(t, token.Token)
	}
	w.requireQueueEmpty(t)
}
