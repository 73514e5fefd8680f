// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (e *emulator) state(t *testing.T) (state stateView, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.pageURL, http.NoBody)
	require.NoError(t, err)
	resp := e.do(t, r, []requestOption{asJSON})
	require.Equal(t, http.StatusOK, resp.code)
	require.NoError(t, json.Unmarshal([]byte(resp.body), &state))
	return state, resp.body
}

func TestState_ListsServiceUsersAndCallsWithoutASecret(t *testing.T) {
	t.Parallel()
	e := launch(t)
	state, text := e.state(t)
	require.Equal(t, stateView{ServiceUsers: []serviceUserView{}, Calls: []callView{}, Flows: []flowView{}}, state)
	require.NotContains(t, text, "null")

	owner := e.createToken(t, map[string]string{"kind": "member", "owner": "operator"})
	client, ctx := e.modal(t, owner)
	made, err := client.ServiceUserCreate(ctx, pb.ServiceUserCreateRequest_builder{Name: "ci", Scoped: true}.Build())
	require.NoError(t, err)
	_, err = client.EnvironmentRoleSet(ctx, pb.EnvironmentRoleSetRequest_builder{
		ServiceUserName: "ci", EnvironmentName: "staging", RoleStr: "viewer",
	}.Build())
	require.NoError(t, err)

	state, text = e.state(t)
	require.Equal(t, []serviceUserView{{"ci", made.GetTokenId(), true, map[string]string{"staging": "viewer"}}}, state.ServiceUsers)
	require.Len(t, state.Calls, 2)
	require.Equal(t, "ServiceUserCreate", state.Calls[0].Method)
	require.Equal(t, owner["token_id"], state.Calls[0].TokenID)
	require.Equal(t, "OK", state.Calls[0].Code)
	require.NotContains(t, text, owner["token_secret"])
	require.NotContains(t, text, made.GetTokenSecret())
}

func TestDelay_DelaysOnlyTheNextCallBeforeOrAfterItsWork(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		afterCommit string
		meanwhile   int
	}{
		"before": {"", 0},
		"after":  {"true", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := launch(t)
			client, ctx := e.modal(t, e.createToken(t, map[string]string{"kind": "member", "owner": "operator"}))
			resp := e.post(t, "/delays", map[string]string{"rpc": "ServiceUserCreate", "delay": "1s", "after_commit": test.afterCommit})
			require.Equal(t, http.StatusOK, resp.code, resp.body)

			began, done := time.Now(), make(chan error, 1)
			go func() {
				_, err := client.ServiceUserCreate(ctx, pb.ServiceUserCreateRequest_builder{Name: "first"}.Build())
				done <- err
			}()
			require.Eventually(t, func() bool {
				state, _ := e.state(t)
				return len(state.Calls) == 1 && state.Calls[0].Code == "Unknown" && len(state.ServiceUsers) == test.meanwhile
			}, 900*time.Millisecond, 5*time.Millisecond)
			require.NoError(t, <-done)
			require.GreaterOrEqual(t, time.Since(began), time.Second)

			began = time.Now()
			_, err := client.ServiceUserCreate(ctx, pb.ServiceUserCreateRequest_builder{Name: "second"}.Build())
			require.NoError(t, err)
			require.Less(t, time.Since(began), time.Second)
		})
	}
}

func TestDelay_BadRequestsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	e := launch(t)
	for name, test := range map[string]struct {
		form   map[string]string
		reason string
	}{
		"no RPC":      {map[string]string{"delay": "1s"}, "name the RPC as rpc"},
		"unknown RPC": {map[string]string{"rpc": "ServiceUserCrate", "delay": "1s"}, `no RPC "ServiceUserCrate"`},
		"no duration": {map[string]string{"rpc": "ServiceUserCreate", "delay": "soon"}, `delay is "soon"`},
		"no delay":    {map[string]string{"rpc": "ServiceUserCreate", "delay": "0s"}, `delay is "0s"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp := e.post(t, "/delays", test.form)
			require.Equal(t, http.StatusBadRequest, resp.code)
			require.Contains(t, resp.body, test.reason)
		})
	}
	form := map[string]string{"rpc": "ServiceUserCreate", "delay": "1h"}
	require.Equal(t, http.StatusForbidden, e.post(t, "/delays", form, fromOtherSite).code)
}

func TestOutage_FailsEveryCallUntilItIsOver(t *testing.T) {
	t.Parallel()
	e := launch(t)
	client, ctx := e.modal(t, e.createToken(t, map[string]string{"kind": "member", "owner": "operator"}))
	ask := func() codes.Code {
		_, err := client.TokenInfoGet(ctx, pb.TokenInfoGetRequest_builder{}.Build())
		return status.Code(err)
	}
	for down, want := range map[string]codes.Code{"true": codes.Unavailable, "false": codes.OK} {
		require.Equal(t, http.StatusOK, e.post(t, "/outage", map[string]string{"down": down}).code)
		require.Equal(t, want, ask(), down)
	}
	require.Contains(t, e.post(t, "/outage", map[string]string{"down": "perhaps"}).body, "want true or false")
}

func TestDelay_AlwaysDelaysEveryCall(t *testing.T) {
	t.Parallel()
	e := launch(t)
	client, ctx := e.modal(t, e.createToken(t, map[string]string{"kind": "member", "owner": "operator"}))
	require.Equal(t, http.StatusOK, e.post(t, "/delays", map[string]string{"rpc": "*", "delay": "20ms", "always": "true"}).code)
	for range 3 {
		began := time.Now()
		_, err := client.TokenInfoGet(ctx, pb.TokenInfoGetRequest_builder{}.Build())
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond)
	}
}

func TestRun_SlowClockMakesTokensLookOlder(t *testing.T) {
	t.Parallel()
	e := launch(t, "-clock-behind=1h")
	client, ctx := e.modal(t, e.createToken(t, map[string]string{"kind": "member", "owner": "operator"}))
	who, err := client.TokenInfoGet(ctx, pb.TokenInfoGetRequest_builder{}.Build())
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(-time.Hour), who.GetCreatedAt().AsTime(), time.Minute)
}
