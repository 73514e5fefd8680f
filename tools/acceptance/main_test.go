// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// short is the lifetime of the token that the program lets expire.
const short = 2 * time.Second

func of(environ map[string]string) func(string) string {
	return func(name string) string { return environ[name] }
}

// outcomes reads a report back.
func outcomes(report string) map[string]string {
	all := map[string]string{}
	for _, line := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| [^|]+ \\| ([^|]+) \\| [^|]+ \\|$").FindAllStringSubmatch(report, -1) {
		all[line[1]] = line[2]
	}
	return all
}

func TestAcceptance_OwnerFillsEveryRowAndLeavesNothing(t *testing.T) {
	t.Parallel()
	e := startEmulator(t, "-expiry-deletes")
	environ := e.environ(t, "operator")
	environ["ACCEPTANCE_ISSUER"], environ["MODAL_IDENTITY_TOKEN"] = e.pageURL, e.identity(t)
	var stranger map[string]string
	e.ask(t, http.MethodPost, e.pageURL+"/tokens", url.Values{"kind": {"service-user"}, "workspace": {"demo"}, "owner": {"vault-acceptance-other"}}, &stranger)
	owner, report := &person{t: t, e: e, member: "operator"}, &bytes.Buffer{}
	require.NoError(t, run(t.Context(), of(environ), short, strings.NewReader(""), report, owner))
	t.Log(report)

	require.Equal(t, []string{"vault-acceptance-other"}, e.serviceUsers(t))
	found := outcomes(report.String())
	for _, row := range slices.Concat(assumed, notKnown) {
		want := held
		switch {
		case untried[row.id] != "" || row.id == "no-plan" || row.id == "members-who-left":
			want = notTried
		case slices.Contains(notKnown, row):
			want = learnt
		}
		require.Equal(t, want, found[row.id], row.id)
	}
	for _, private := range []string{"ak-", "as-", "sv-", "us-", "en-", "127.0.0.1", "demo", "operator", "staging", "vault-acceptance"} {
		require.NotContains(t, report.String(), private)
	}
	require.NotContains(t, owner.read.String(), "as-")
}

func TestAcceptance_MemberWithoutRightsCreatesNothing(t *testing.T) {
	t.Parallel()
	e := startEmulator(t)
	report := &bytes.Buffer{}
	colleague := &person{t: t, e: e, member: "colleague"}
	require.NoError(t, run(t.Context(), of(e.environ(t, "colleague")), short, strings.NewReader(""), report, colleague))
	found := outcomes(report.String())
	require.Equal(t, held, found["not-for-you"])
	require.Equal(t, held, found["ends-itself"])
	require.Equal(t, notTried, found["scoped"])
	require.Empty(t, e.serviceUsers(t))
}

// owned returns the environment of a run against an emulator in this process, which accepts faults.
func owned(t *testing.T, server *modaltest.Server) map[string]string {
	t.Helper()
	workspace := server.AddWorkspace("demo")
	workspace.AddEnvironment("staging")
	token := workspace.AddMember("operator").NewToken()
	return map[string]string{
		"MODAL_TOKEN_ID": token.ID, "MODAL_TOKEN_SECRET": token.Secret, "MODAL_SERVER_URL": server.URL(),
		"ACCEPTANCE": "yes", "ACCEPTANCE_BROWSER": "no",
	}
}

func TestAcceptance_WrongAnswersFailTheirRowsAndAreCleanedUp(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		put  func(*modaltest.Server)
		rows []string
	}{
		"deleted tokens live on": {
			func(s *modaltest.Server) { s.KeepDeletedFor(3 * time.Second) }, []string{"deleted-at-once", "expiry-deletes"},
		},
		"no roles are set": {func(s *modaltest.Server) {
			s.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Message: "no ak-0123456789abcdefghijkl of demo may", Times: -1})
		}, []string{"scoped", "expiry-deletes"}},
		"no role is told": {func(s *modaltest.Server) {
			s.Inject("EnvironmentList", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
				for _, item := range answer.(*pb.EnvironmentListResponse).GetItems() {
					item.ClearEffectiveRole()
				}
			}})
		}, []string{"effective-role", "expiry-deletes"}},
		"present members have a date": {func(s *modaltest.Server) {
			s.Inject("WorkspaceMembersList", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
				for _, item := range answer.(*pb.WorkspaceMembersListResponse).GetMembers() {
					item.SetDeletedAt(1)
				}
			}})
		}, []string{"members-who-left", "expiry-deletes"}},
		"a deletion is refused": {func(s *modaltest.Server) {
			s.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.FailedPrecondition, Message: "not now"})
		}, []string{"deleted-with-user", "expiry-deletes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := modaltest.Start(t)
			environ := owned(t, server)
			server.FailOnOrphans(t, func() []string { return nil })
			fault.put(server)
			report := &bytes.Buffer{}
			err := run(t.Context(), of(environ), short, strings.NewReader(""), report, io.Discard)
			require.EqualError(t, err, "these rows of docs/modal.md are wrong: "+strings.Join(inOrder(fault.rows), ", "))
			for row, verdict := range outcomes(report.String()) {
				require.Equal(t, slices.Contains(fault.rows, row), verdict == failed, row)
			}
			require.NotRegexp(t, `ak-|demo`, report.String())
		})
	}
}

func inOrder(rows []string) (sorted []string) {
	for _, row := range assumed {
		if slices.Contains(rows, row.id) {
			sorted = append(sorted, row.id)
		}
	}
	return sorted
}

func TestAcceptance_ReportsWhatTheWorkspaceHas(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t, modaltest.WithExpiryDeletes())
	environ := owned(t, server)
	workspace := server.Workspace("demo")
	workspace.AddMember("gone").Leave()
	workspace.AddCustomRole("night-shift", "secret.read", "app.deploy")
	report := &bytes.Buffer{}
	require.NoError(t, run(t.Context(), of(environ), short, strings.NewReader(""), report, io.Discard))
	require.Equal(t, held, outcomes(report.String())["members-who-left"])
	for _, saw := range []string{
		"1 of 2 members are listed with a date", "a viewer was shown viewer in 1 environments",
		"there are 1 custom roles, with the permissions app.deploy, secret.read",
		"the answer was OK; a service user got forbidden", "and 0 by service users that used their tokens (none)",
	} {
		require.Contains(t, report.String(), saw)
	}
	require.NotContains(t, report.String(), "night-shift")
}

func TestAcceptance_DoesNotWaitForATokenThatLivesForLong(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]*timestamppb.Timestamp{"a day": timestamppb.New(time.Now().Add(24 * time.Hour)), "for ever": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := modaltest.Start(t)
			environ := owned(t, server)
			server.Inject("ServiceUserCreate", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
				answer.(*pb.ServiceUserCreateResponse).SetExpiresAt(at)
			}})
			report := &bytes.Buffer{}
			require.NoError(t, run(t.Context(), of(environ), short, strings.NewReader(""), report, io.Discard))
			found := outcomes(report.String())
			for _, row := range []string{"refused-expired", "expiry-told", "expiry-deletes"} {
				require.Equal(t, notTried, found[row], row)
			}
			require.Empty(t, server.Orphans(nil))
		})
	}
}

func TestAcceptance_NamesWhatItCouldNotDelete(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	environ := owned(t, server)
	server.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.FailedPrecondition, Message: "not now", Times: -1})
	err := run(t.Context(), of(environ), short, strings.NewReader(""), io.Discard, io.Discard)
	require.ErrorContains(t, err, "still exists, delete it at Modal")
	for _, name := range server.Orphans(nil) {
		require.ErrorContains(t, err, name)
	}
}

func TestAcceptance_CreatesNothingWithoutAYes(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"", "no\n", "y\n", "yes please\n"} {
		server := modaltest.Start(t)
		environ := owned(t, server)
		delete(environ, "ACCEPTANCE")
		asked := &bytes.Buffer{}
		err := run(t.Context(), of(environ), short, strings.NewReader(said), io.Discard, asked)
		require.EqualError(t, err, "the run created nothing, because the answer was not yes")
		require.Regexp(t, `makes .* service users called vault-acceptance-(?s:.*)deletes .*them again`, asked.String())
		require.Empty(t, server.Calls("ServiceUserCreate"))
	}
}

func TestAcceptance_NeverAsksModalFromCI(t *testing.T) {
	t.Parallel()
	for _, set := range []map[string]string{
		{}, {"MODAL_SERVER_URL": "http://127.0.0.1:1", "ACCEPTANCE_ISSUER": "https://oidc.modal.com"},
	} {
		set["CI"], set["MODAL_TOKEN_ID"], set["MODAL_TOKEN_SECRET"] = "true", "ak-0123456789abcdefghijkl", "as-0123456789abcdefghijkl"
		err := run(t.Context(), of(set), short, strings.NewReader("yes\n"), io.Discard, io.Discard)
		require.ErrorContains(t, err, "do not run this in CI")
	}
}

func TestRows_MatchThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/modal.md")
	require.NoError(t, err)
	var written, known []string
	for _, id := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		written = append(written, id[1])
	}
	for _, row := range slices.Concat(assumed, notKnown) {
		known = append(known, row.id)
	}
	require.Equal(t, written, known)
}

func TestReport_LeavesOutNamesInEverySpelling(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Zoë", "Łukasz", "J. Doe Jr.", "team-a", "main", "+1"} {
		seen := &trial{names: []string{name}}
		require.Equal(t, "only … may, says … (…)", seen.clean("only "+name+" may, says "+name+" ("+name+")"), name)
	}
	seen := &trial{names: []string{"main"}}
	require.Equal(t, "remains, …", seen.clean("remains, main"))
	require.Equal(t, "not for … (…)", seen.clean("not for j.doe+modal@example.com (doe@example.com)"))
}
