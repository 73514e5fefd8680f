// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

const rpc = "TokenInfoGet"

func TestCall_SendsTheHeadersOfModalsGoClient(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL(), Version: "1.2.3"})
	// Metadata that another client left in the context is not sent to Modal.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-other-server", "private")

	_, err := client.WhoAmI(ctx, token)

	require.NoError(t, err)
	header := onlyCall(t, server).Header
	for name, want := range map[string]string{
		"x-modal-client-type":      "9",
		"x-modal-client-version":   "1.0.0",
		"x-modal-libmodal-version": "vault-plugin-secrets-modal/1.2.3",
		"x-modal-host":             "127.0.0.1",
		"x-modal-token-id":         token.ID,
		"content-type":             "application/grpc",
		"x-retry-attempt":          "0",
		"x-throttle-retry-attempt": "0",
	} {
		require.Equal(t, []string{want}, header.Get(name), name)
	}
	require.Len(t, header.Get("x-idempotency-key"), 1)
	require.NoError(t, uuid.Validate(header.Get("x-idempotency-key")[0]))
	require.Empty(t, header.Get("x-modal-auth-token"))
	require.Empty(t, header.Get("x-other-server"))
}

func TestCall_TransientFailureIsRetriedUnderOneIdempotencyKey(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.DeadlineExceeded, codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown, codes.Aborted} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			server, token := emulated(t)
			server.Inject(rpc, modaltest.Fault{Code: code, Times: 3})

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), token)

			require.NoError(t, err)
			calls := server.Calls(rpc)
			require.Len(t, calls, 4)
			for i, call := range calls {
				require.Equal(t, strconv.Itoa(i), call.Header.Get("x-retry-attempt")[0])
				require.Equal(t, calls[0].Header.Get("x-idempotency-key"), call.Header.Get("x-idempotency-key"))
			}
		})
	}
}

func TestCall_EachCallHasItsOwnIdempotencyKey(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	for range 2 {
		_, err := client.WhoAmI(t.Context(), token)
		require.NoError(t, err)
	}

	calls := server.Calls(rpc)
	require.Len(t, calls, 2)
	require.NotEqual(t, calls[0].Header.Get("x-idempotency-key"), calls[1].Header.Get("x-idempotency-key"))
}

func TestCall_FourthFailureIsReturnedAsUnavailable(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	server.Inject(rpc, modaltest.Fault{Code: codes.Unavailable, Message: "being deployed", Times: 4})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), token)

	require.EqualError(t, err, "Modal gave no usable answer when asked to say whose token this is: being deployed")
	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.Len(t, server.Calls(rpc), 4)
}

func TestCall_FinalFailureKeepsItsKind(t *testing.T) {
	t.Parallel()
	for code, kind := range map[codes.Code]modalapi.Kind{
		codes.Unauthenticated:    modalapi.KindRefused,
		codes.PermissionDenied:   modalapi.KindForbidden,
		codes.NotFound:           modalapi.KindNotFound,
		codes.AlreadyExists:      modalapi.KindExists,
		codes.FailedPrecondition: modalapi.KindConflict,
		codes.InvalidArgument:    modalapi.KindInvalid,
		codes.OutOfRange:         modalapi.KindInvalid,
		codes.ResourceExhausted:  modalapi.KindThrottled,
		codes.Unimplemented:      modalapi.KindUnsupported,
		codes.DataLoss:           modalapi.KindUnavailable,
		codes.Code(99):           modalapi.KindUnavailable,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			server, token := emulated(t)
			server.Inject(rpc, modaltest.Fault{Code: code, Message: "no", Times: -1})

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), token)

			require.Equal(t, kind, modalapi.KindOf(err))
			require.ErrorContains(t, err, "Modal ")
			require.ErrorContains(t, err, ": no")
			require.Len(t, server.Calls(rpc), 1)
		})
	}
}

func TestWhoAmI_RejectedSecretIsReportedAsRejected(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	_, err := client.WhoAmI(t.Context(), modalapi.Token{ID: token.ID, Secret: someSecret})

	require.Equal(t, modalapi.KindRefused, modalapi.KindOf(err))
	require.NotContains(t, err.Error(), someSecret)
	require.Len(t, server.Calls(rpc), 1)
}

func TestWhoAmI_DeletedTokenIsRejectedOnTheSameConnection(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	_, err := client.WhoAmI(t.Context(), token)
	require.NoError(t, err)

	require.True(t, server.DeleteToken(token.ID))
	_, err = client.WhoAmI(t.Context(), token)

	require.Equal(t, modalapi.KindRefused, modalapi.KindOf(err))
}

func TestCall_ConcurrentCallsUseTheirOwnTokens(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	member := server.AddWorkspace("acme").AddMember("ada")
	client := newClient(t, modalapi.Options{ServerURL: server.URL(), Warn: func(string) {}})

	var wg sync.WaitGroup
	errs, owners := make([]error, 20), make([]bool, 20)
	for i := range errs {
		token := member.NewToken()
		wg.Go(func() {
			who, err := client.WhoAmI(t.Context(), modalapi.Token{ID: token.ID, Secret: token.Secret})
			errs[i], owners[i] = err, who.TokenID == token.ID
		})
	}
	wg.Wait()

	for i := range errs {
		require.NoError(t, errs[i])
		require.True(t, owners[i])
	}
}

func TestClose_LaterCallsFailAtOnceWithAReason(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	_, err := client.WhoAmI(t.Context(), token)
	require.NoError(t, err)

	require.NoError(t, client.Close())
	_, err = client.WhoAmI(t.Context(), token)

	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.ErrorContains(t, err, "closing")
	require.Len(t, server.Calls(rpc), 1)
}

func onlyCall(t *testing.T, server *modaltest.Server) modaltest.Call {
	t.Helper()
	calls := server.Calls("")
	require.Len(t, calls, 1)
	return calls[0]
}
