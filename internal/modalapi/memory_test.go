// SPDX-License-Identifier: MPL-2.0

//go:build linux && !race

package modalapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// A child process makes one call and measures the peak memory of its answer. Linux reports the peak memory
// of a process. The race detector would multiply it.
const (
	childServer = "MODALAPI_TEST_SERVER"
	childCall   = "MODALAPI_TEST_CALL"

	// mostMiB is the largest allowed increase of the peak.
	mostMiB = 64
	// mostReservedMiB is the largest allowed increase of the heap that the process reserves, used or not.
	mostReservedMiB = 2 * mostMiB
)

func TestMain(m *testing.M) {
	server := os.Getenv(childServer)
	if server == "" {
		os.Exit(m.Run())
	}
	if err := json.NewEncoder(os.Stdout).Encode(measure(server, os.Getenv(childCall))); err != nil {
		panic(err)
	}
}

// measured is the report of a child process.
type measured struct {
	KiB      int // how much the call increased the peak memory of the process
	Reserved int // how much the call increased the reserved heap, in KiB
	Entries  int
	Error    string
}

func measure(server, call string) (m measured) {
	client, err := modalapi.New(modalapi.Options{ServerURL: server, Timeout: time.Minute})
	if err != nil {
		panic(err)
	}
	before, reserved := peakKiB(), reservedKiB()
	m.Entries, err = everyAnswer[call](context.Background(), client)
	m.KiB, m.Reserved = peakKiB()-before, reservedKiB()-reserved
	if err != nil {
		m.Error = err.Error()
	}
	return m
}

var peakLine = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakKiB returns the peak memory of this process so far.
func peakKiB() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	kib, err := strconv.Atoi(string(peakLine.FindSubmatch(status)[1]))
	if err != nil {
		panic(err)
	}
	return kib
}

func reservedKiB() int {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapSys >> 10)
}

// inChild makes the call in a child process and requires that its peak memory is bounded. The children run
// one after the other, because this process keeps the answers in memory.
func inChild(t *testing.T, what, server, call string) (m measured) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), childServer+"="+server, childCall+"="+call, "GOGC=100")
	output, err := child.Output()
	require.NoError(t, err, "%s", output)
	require.NoError(t, json.Unmarshal(output, &m))
	t.Logf("%s, %s: peak %d MiB, reserved %d MiB, %d entries, %s", call, what, m.KiB>>10, m.Reserved>>10, m.Entries, m.Error)
	require.Less(t, m.KiB, mostMiB<<10, "%s, %s", call, what)
	require.Less(t, m.Reserved, mostReservedMiB<<10, "%s, %s", call, what)
	return m
}

// everyAnswer contains every call. Each returns the number of entries in its answer.
var everyAnswer = func() map[string]func(context.Context, *modalapi.Client) (int, error) {
	calls := map[string]func(context.Context, *modalapi.Client) (int, error){
		"TokenFlowCreate": func(ctx context.Context, c *modalapi.Client) (int, error) {
			_, err := c.BeginTokenFlow(ctx, 0)
			return 0, err
		},
		"TokenFlowWait": func(ctx context.Context, c *modalapi.Client) (int, error) {
			_, err := c.AwaitTokenFlow(ctx, modalapi.TokenFlow{ID: "tf-1", WaitSecret: "secret"}, time.Second)
			return 0, err
		},
		"TokenDelete": func(ctx context.Context, c *modalapi.Client) (int, error) {
			return 0, c.DeleteToken(ctx, someToken, someID)
		},
	}
	for rpc, call := range everyCall {
		calls[rpc] = func(ctx context.Context, c *modalapi.Client) (int, error) { return 0, call(ctx, c, someToken, "sv-1") }
	}
	calls["ServiceUserList"] = func(ctx context.Context, c *modalapi.Client) (int, error) {
		users, err := c.ServiceUsers(ctx, someToken)
		return len(users), err
	}
	return calls
}()

// filled repeats the result of unit up to about the given size.
func filled(size int, unit func(i int) []byte) (body []byte) {
	for i := 0; ; i++ {
		next := unit(i)
		if len(body)+len(next) > size {
			return body
		}
		body = append(body, next...)
	}
}

func always(unit []byte) func(int) []byte { return func(int) []byte { return unit } }

// fields encodes the fields of a message, by field number.
func fields(values map[int]string) (message []byte) {
	for number, value := range values {
		message = append(message, field(number, []byte(value))...)
	}
	return message
}

// withRoles encodes a list of service users, each with its own environment roles.
func withRoles(size, roles int) []byte {
	next := 0
	return filled(size, func(i int) []byte {
		user := fields(map[int]string{1: "ci-" + strconv.Itoa(i), 2: someID, 7: "sv-" + strconv.Itoa(i)})
		for range roles {
			next++
			user = append(user, field(10, fields(map[int]string{3: "environment-" + strconv.Itoa(next), 4: "viewer"}))...)
		}
		return field(1, user)
	})
}

// hostile returns bodies of about the given size whose decoded form could be much larger.
func hostile(size int) map[string]func() []byte {
	repeated := func(unit []byte) func() []byte {
		return func() []byte { return filled(size, always(unit)) }
	}
	user := func(name, id string) []byte {
		return field(1, fields(map[int]string{1: name, 2: id, 3: id, 4: id, 7: id}))
	}
	return map[string]func() []byte{
		"empty entries":            repeated([]byte{0x0a, 0x00}),
		"empty entries of field 2": repeated([]byte{0x12, 0x00}),
		"empty messages":           repeated([]byte{0x22, 0x00, 0x2a, 0x00}),
		"unknown fields":           repeated([]byte{0xfa, 0x7f, 0x00}),
		"unknown groups":           repeated([]byte{0xfb, 0x7f, 0xfc, 0x7f}),
		"the same field":           repeated(field(1, []byte("xyz"))),
		"one giant text":           repeated(field(1, bytes.Repeat([]byte("x"), size-16))),
		"an entry of empty roles":  func() []byte { return field(1, filled(min(size, 4<<20)-16, always(field(10, nil)))) },
		"entries of empty roles":   repeated(field(1, filled(4000, always(field(10, nil))))),
		"entries with a role each": func() []byte { return withRoles(size/8, 1) },
		"entries with 900 roles":   func() []byte { return withRoles(size, 900) },
		"entries with short texts": repeated(user("aa", "bb")),
		"entries with odd texts":   repeated(user("\x1b"+strings.Repeat("é", 50), strings.Repeat("z", 60))),
		"entries with giant texts": repeated(user(strings.Repeat("x", 1<<16), "é")),
		"entries with escapes":     repeated(user(strings.Repeat("%41", 40), strings.Repeat("-"+strings.Repeat("z", 22), 4))),
		"entries with a secret":    repeated(user(someSecret+strings.Repeat("y", 20), strings.Repeat("z", 60))),
	}
}

func TestMemory_PeakOfAHostileListStaysBounded(t *testing.T) {
	t.Parallel()
	for what, body := range hostile(31 << 20) {
		server := serveBytes(t, body())
		inChild(t, what, server, "ServiceUserList")
		if strings.HasPrefix(what, "empty") || strings.HasPrefix(what, "entries with") {
			for _, call := range []string{"EnvironmentList", "WorkspaceMembersList", "TokensList", "AuditLogList", "EnvironmentGetRoles"} {
				inChild(t, what, server, call)
			}
		}
	}
}

func TestMemory_PeakOfAHostileAnswerStaysBounded(t *testing.T) {
	t.Parallel()
	bodies := hostile(4<<20 - 64)
	for _, what := range []string{"empty messages", "unknown fields", "an entry of empty roles"} {
		server := serveBytes(t, bodies[what]())
		for call := range everyAnswer {
			inChild(t, what, server, call)
		}
	}
}

func TestMemory_PeakOfTinyFramesAndManyHeadersStaysBounded(t *testing.T) {
	t.Parallel()
	body := field(99, make([]byte, 3<<20))
	for _, size := range []int{1, 256, 4097} {
		what := fmt.Sprintf("frames of %d", size)
		inChild(t, what, serveFrames(t, frames{body: body, size: size}), "TokenInfoGet")
		inChild(t, what, serveFrames(t, frames{body: bytes.Repeat(body, 9), size: size}), "ServiceUserList")
	}
	inChild(t, "headers", serveFrames(t, frames{size: 1, headers: 120_000}), "TokenInfoGet")
}

// workspace encodes a list of service users such as this engine creates.
func workspace(t *testing.T, count int) (body []byte) {
	t.Helper()
	for i := range count {
		user := pb.ServiceUser_builder{
			Name:    fmt.Sprintf("vault-0a1b2c3d-some-role-of-a-team-%010d", i),
			TokenId: fmt.Sprintf("ak-%022d", i), ServiceUserId: fmt.Sprintf("sv-%022d", i), CreatedBy: "ada.lovelace",
			CreatedAt: 1772366400.25, LastUsedAt: 1772366400.25, ExpiresAt: proto.Float64(1772452800.5), Status: "active", Scoped: true,
		}
		for _, environment := range []string{"main", "staging", "production"} {
			user.EnvironmentRoles = append(user.EnvironmentRoles, pb.ServiceUser_EnvironmentRoleEntry_builder{
				EnvironmentId: fmt.Sprintf("en-%022s", environment), EnvironmentName: environment,
				Role: pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER, RoleStr: "viewer",
			}.Build())
		}
		entry, err := proto.Marshal(user.Build())
		require.NoError(t, err)
		body = append(body, field(1, entry)...)
	}
	return body
}

func TestMemory_WorkspaceOf100000ServiceUsersIsListedWithinTheBound(t *testing.T) {
	t.Parallel()
	m := inChild(t, "100,000 service users", serveBytes(t, workspace(t, 100_000)), "ServiceUserList")

	require.Empty(t, m.Error)
	require.Equal(t, 100_000, m.Entries)
}

func TestMemory_LargerWorkspaceIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	m := inChild(t, "110,000 service users", serveBytes(t, workspace(t, 110_000)), "ServiceUserList")

	require.Contains(t, m.Error, "its service users take more than 56 MiB of memory, which is more than a workspace can have")
	m = inChild(t, "120,000 service users", serveBytes(t, workspace(t, 120_000)), "ServiceUserList")
	require.Contains(t, m.Error, "the answer is larger than 32 MiB, which is larger than a real answer can be")
}
