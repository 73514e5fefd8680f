// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestTLS_ServerOfTheGivenCAIsTrusted(t *testing.T) {
	t.Parallel()
	server, token := emulated(t, modaltest.WithTLS())

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL(), CACert: server.CACert()}).WhoAmI(t.Context(), token)

	require.NoError(t, err)
}

func TestTLS_ServerOfAnotherCAGetsNoToken(t *testing.T) {
	t.Parallel()
	other := modaltest.Start(t, modaltest.WithTLS())
	for name, caCert := range map[string]string{"system roots": "", "another CA": other.CACert()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, token := emulated(t, modaltest.WithTLS())

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL(), CACert: caCert}).WhoAmI(t.Context(), token)

			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.ErrorContains(t, err, "certificate")
			require.Empty(t, server.Calls(""))
		})
	}
}

func TestTLS_PlainTextServerGetsNoToken(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)

	_, err := newClient(t, modalapi.Options{ServerURL: strings.Replace(server.URL(), "http:", "https:", 1)}).WhoAmI(t.Context(), token)

	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.Empty(t, server.Calls(""))
}

func TestNew_PlainTextToAnotherHostIsRefusedWithoutDialling(t *testing.T) {
	t.Parallel()
	_, err := modalapi.New(modalapi.Options{ServerURL: "http://api.modal.com:443"})

	require.ErrorContains(t, err, "must use https")
	require.ErrorContains(t, err, "write https://api.modal.com:443")
}

func TestNew_OptionsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for want, options := range map[string]modalapi.Options{
		"server_url": {ServerURL: "modal"},
		"ca_cert":    {ServerURL: "http://127.0.0.1:1", CACert: "no PEM"},
		"negative":   {Timeout: -time.Second},
	} {
		_, err := modalapi.New(options)
		require.ErrorContains(t, err, want)
	}
}

func TestNew_DefaultsNeedNoOptionsAndNoNetwork(t *testing.T) {
	t.Parallel()
	client, err := modalapi.New(modalapi.Options{})

	require.NoError(t, err)
	require.NoError(t, client.Close())
}

func TestTransport_ServerThatComesBackIsFoundAgain(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	_, err := client.WhoAmI(t.Context(), token)
	require.NoError(t, err)

	server.Close()
	_, err = client.WhoAmI(t.Context(), token)
	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.ErrorContains(t, err, "refused")

	serveAt(t, strings.TrimPrefix(server.URL(), "http://"), func(context.Context) (*pb.TokenInfoGetResponse, error) {
		return goodAnswer().Build(), nil
	})
	require.Eventually(t, func() bool {
		_, err = client.WhoAmI(t.Context(), someToken)
		return err == nil
	}, 10*time.Second, 50*time.Millisecond)
}

// What stands between the engine and Modal answers in HTTP, not in gRPC.
func TestTransport_PlainHTTPAnswerIsAFailureOfAFittingKind(t *testing.T) {
	t.Parallel()
	for code, kind := range map[int]modalapi.Kind{
		http.StatusOK:                 modalapi.KindUnavailable,
		http.StatusFound:              modalapi.KindUnavailable,
		http.StatusUnauthorized:       modalapi.KindRefused,
		http.StatusForbidden:          modalapi.KindForbidden,
		http.StatusNotFound:           modalapi.KindUnsupported,
		http.StatusTooManyRequests:    modalapi.KindUnavailable,
		http.StatusBadGateway:         modalapi.KindUnavailable,
		http.StatusServiceUnavailable: modalapi.KindUnavailable,
	} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(code)
			}))
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Start()
			t.Cleanup(server.Close)

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL}).WhoAmI(t.Context(), someToken)

			require.Error(t, err)
			require.Equal(t, kind.String(), modalapi.KindOf(err).String())
		})
	}
}

func TestMessages_EchoedSecretIsRedacted(t *testing.T) {
	t.Parallel()
	client := answering(t, func(ctx context.Context) (*pb.TokenInfoGetResponse, error) {
		sent, _ := metadata.FromIncomingContext(ctx)
		return nil, status.Error(codes.Unauthenticated, "no token "+someID+" with "+sent.Get("x-modal-token-secret")[0]+"\nsorry")
	})

	_, err := client.WhoAmI(t.Context(), someToken)

	require.EqualError(t, err, "Modal refused the token: no token "+someID+" with [redacted] sorry")
	require.NotContains(t, status.Convert(err).Message(), someSecret)
}
