// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// moments are the columns of the matrix: each client uses each form at each of these moments.
var moments = []string{"fresh", "rotated: old, in grace", "rotated: new", "old, after grace"}

// row is a line of the matrix: the results of a client with a form, at each moment.
type row struct {
	client, form string
	cells        []string
}

func TestCreds_AllClientsOfModalAcceptEachFormAroundARotation(t *testing.T) {
	t.Parallel()
	clients := modalClients(t)
	w := newWorld(t)
	admin := w.newToken(t)
	require.NoError(t, w.run(t, w.CLI, admin.Secret, "write", "modal/config", "token_id="+admin.ID, "token_secret=-").Err())
	results := make([][]row, len(families))
	started := time.Now()
	t.Cleanup(func() { // after all families
		printMatrix(t, t.Output(), slices.Concat(results...))
		t.Logf("the matrix took %s", time.Since(started).Round(time.Second))
	})
	for i, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			m := &matrix{world: w, family: f, clients: clients}
			defer func() { results[i] = m.rows }()
			m.play(t)
		})
	}
}

// modalClients returns the clients that this machine has or can install. CI must have all of them.
func modalClients(t *testing.T) []lab.Client {
	t.Helper()
	clients := []lab.Client{tools.GoClient()}
	ctx := testContext(t)
	for name, install := range map[string]func(context.Context) (lab.Client, error){
		"javascript": tools.JavaScriptClient, "python": tools.PythonClient,
	} {
		client, err := install(ctx)
		if err == nil {
			clients = append(clients, client)
			continue
		}
		require.NotEqual(t, "true", os.Getenv("CI"), "CI needs Modal's %s client: %v", name, err)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Skipf("Modal's %s client can't be installed here, so it is NOT TESTED: %v", name, err)
		})
	}
	slices.SortFunc(clients, func(x, y lab.Client) int { return strings.Compare(x.Name, y.Name) })
	return clients
}

func printMatrix(t *testing.T, out io.Writer, rows []row) {
	t.Helper()
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, strings.Join(append([]string{"form", "client"}, moments...), "\t"))
	for _, r := range rows {
		fmt.Fprintln(table, strings.Join(append([]string{r.form, r.client}, r.cells...), "\t"))
	}
	require.NoError(t, table.Flush())
}

// matrix tests one family.
type matrix struct {
	*world
	family
	clients []lab.Client
	rows    []row
	failed  []error
}

// play takes the family through all moments. A wrong cell does not stop the others.
func (m *matrix) play(t *testing.T) {
	t.Helper()
	m.create(t)
	old := m.take(t, "old")
	m.use(t, 0, old, true)
	m.rotateAll(t, "1h")
	current := m.take(t, "new")
	m.use(t, 1, old, true)
	m.use(t, 2, current, true)
	m.use(t, 3, m.end(t, old, current), false)
	require.NoError(t, errors.Join(m.failed...))
}

func (m *matrix) create(t *testing.T) {
	t.Helper()
	for _, f := range m.forms {
		for _, client := range m.clients {
			m.rows = append(m.rows, row{client.Name, f.name, slices.Repeat([]string{"-"}, len(moments))})
		}
	}
	for _, r := range m.roles {
		args := []string{"write", "modal/roles/" + r.name, "profile=" + r.profile}
		if r.managed {
			m.vault(t, append(args, "type=managed", "environment_roles=main=viewer")...)
			continue
		}
		token := m.newToken(t)
		result := m.run(t, m.CLI, token.Secret, append(args, "type=static", "token_id="+token.ID, "token_secret=-")...)
		require.NoError(t, result.Err())
	}
}

func (m *matrix) rotateAll(t *testing.T, grace string) {
	t.Helper()
	for _, r := range m.roles {
		args := []string{"write", "modal/rotate/" + r.name, "grace_period=" + grace}
		if r.managed {
			m.vault(t, args...)
			continue
		}
		token := m.newToken(t)
		require.NoError(t, m.run(t, m.CLI, token.Secret, append(args, "token_id="+token.ID, "token_secret=-")...).Err())
	}
}

// end makes Modal reject tokens and returns them. The engine ends the current tokens of managed roles after one more
// rotation, so that the test of the old tokens needs no exact time. For a static role the test deletes the old token as
// an operator would.
func (m *matrix) end(t *testing.T, old, current taken) taken {
	t.Helper()
	if m.outlived {
		m.rotateAll(t, "1s")
		for _, r := range m.roles {
			m.awaitGone(t, current.ids[r.name])
		}
		return current
	}
	for _, r := range m.roles {
		id := old.ids[r.name]
		if !r.managed {
			require.NoError(t, m.emulator.DeleteToken(m.ctx, id))
		}
		ended := parse(t, m.vault(t, "write", "-format=json", "modal/revocations/"+id, "force=true"))
		require.Equal(t, true, ended["revoked"], id)
	}
	return old
}

// use lets each client use each form and records the results.
func (m *matrix) use(t *testing.T, moment int, kept taken, accepted bool) {
	t.Helper()
	for i, f := range m.forms {
		for j, client := range m.clients {
			cell := &m.rows[i*len(m.clients)+j].cells[moment]
			*cell = map[bool]string{true: "accepted", false: "refused"}[accepted]
			if err := m.try(client, f, kept.variables[i], kept.ids[f.role], accepted); err != nil {
				*cell = "WRONG"
				m.failed = append(m.failed, fmt.Errorf("%s, %s, %s: %w", client.Name, f.name, moments[moment], err))
			}
		}
	}
}

// try runs a client and compares its result with Modal's answers: the client must use the right token and get
// the expected answers.
func (m *matrix) try(client lab.Client, f form, variables []string, id string, accepted bool) error {
	before, err := m.emulator.AnswersTo(m.ctx, id)
	if err != nil {
		return err
	}
	results, err := m.lab.Authenticate(m.ctx, client, variables...)
	if err != nil {
		return err
	}
	after, err := m.emulator.AnswersTo(m.ctx, id)
	if err != nil {
		return err
	}
	want := map[bool]string{true: "OK", false: "Unauthenticated"}[accepted]
	answers := after[len(before):]
	if len(answers) < len(results) || slices.ContainsFunc(answers, func(code string) bool { return code != want }) {
		return fmt.Errorf("modal answered token %s with %v instead of %s; the client printed: %w", id, answers, want, said(results))
	}
	for _, result := range results {
		if (result.Code == 0) != accepted {
			return fmt.Errorf("the client ended with %d: %w", result.Code, said(results))
		}
	}
	if accepted && !m.sees(f.role, results[len(results)-1].Stdout) {
		return fmt.Errorf("the client does not see what role %s may see: %w", f.role, said(results))
	}
	return nil
}

// sees reports whether a list of environments fits the role's token.
func (m *matrix) sees(role, listing string) bool {
	managed := slices.ContainsFunc(m.roles, func(r clientRole) bool { return r.name == role && r.managed })
	return strings.Contains(listing, "main") && strings.Contains(listing, "staging") != managed
}

// said returns the masked output of a client as an error.
func said(results []lab.Result) error {
	var text strings.Builder
	for _, result := range results {
		text.WriteString(result.Stdout + result.Stderr)
	}
	return errors.New(lab.Mask(text.String()))
}
