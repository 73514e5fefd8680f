// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestTLS_TrustsAServerOfTheGivenCA(t *testing.T) {
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

func TestNew_RefusesPlainTextToARemoteHostWithoutDialling(t *testing.T) {
	t.Parallel()
	_, err := modalapi.New(modalapi.Options{ServerURL: "http://api.modal.com:443"})

	require.ErrorContains(t, err, "must use https")
	require.ErrorContains(t, err, "write https://api.modal.com:443")
}

func TestNew_RefusesInvalidOptions(t *testing.T) {
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

func TestNew_NeedsNoOptionsAndNoNetwork(t *testing.T) {
	t.Parallel()
	client, err := modalapi.New(modalapi.Options{})

	require.NoError(t, err)
	require.NoError(t, client.Close())
}

func TestNew_RefusesAnUnreadableProxyURL(t *testing.T) { //nolint:paralleltest // it sets the environment
	const server = "https://modal.example.internal:443"
	for proxy, bad := range map[string]bool{
		"http://ada:pa55%word@proxy.internal:3128":   true,
		"http://ada:pa55#word@proxy.internal:3128":   true,
		"http://ada:pa55/word@proxy.internal:3128":   true,
		"http://ada:pa55%25word@proxy.internal:3128": false,
		"proxy.internal:3128":                        false,
		"proxy.internal:port":                        true,
		"http://":                                    true,
		"":                                           false,
	} {
		t.Setenv("HTTPS_PROXY", proxy)
		for url, wanted := range map[string]bool{server: bad, "https://127.0.0.1:443": false, "http://localhost:9900": false} {
			client, err := modalapi.New(modalapi.Options{ServerURL: url})
			if wanted {
				require.ErrorContains(t, err, "the proxy URL in the environment variable HTTPS_PROXY", proxy)
				require.NotContains(t, err.Error(), "pa55")
				continue
			}
			require.NoError(t, err, "%s %s", proxy, url)
			require.NoError(t, client.Close())
		}
		t.Setenv("NO_PROXY", "example.internal")
		client, err := modalapi.New(modalapi.Options{ServerURL: server})
		require.NoError(t, err, "the server needs no proxy")
		require.NoError(t, client.Close())
		t.Setenv("NO_PROXY", "")
	}
}

func TestTransport_ReconnectsToAServerThatComesBack(t *testing.T) {
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
	}, time.Minute, 50*time.Millisecond)
}

// bareAnswer starts a server that answers every call with a bare HTTP status, as a proxy or gateway does, and
// counts the calls.
func bareAnswer(t *testing.T, httpStatus int, contentType, body string) (serverURL string, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header()["Content-Type"] = nil
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(httpStatus)
		_, _ = io.WriteString(w, body)
	}))
	return startHTTP2(t, server), calls
}

func startHTTP2(t *testing.T, server *httptest.Server) (serverURL string) {
	t.Helper()
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

func TestBareHTTP_NeverCountsAsModalsAnswer(t *testing.T) {
	t.Parallel()
	for httpStatus, text := range map[int]string{
		200: "200 OK", 302: "302 Found", 400: "400 Bad Request", 401: "401 Unauthorized", 403: "403 Forbidden",
		404: "404 Not Found", 407: "407 Proxy Authentication Required", 429: "429 Too Many Requests",
		502: "502 Bad Gateway", 503: "503 Service Unavailable", 520: "520",
	} {
		for _, contentType := range []string{"", "text/html"} {
			for _, body := range []string{"", "<html>please log in</html>"} {
				if httpStatus == http.StatusOK && contentType == "" && body == "" {
					continue // this combination is the answer of grpclib
				}
				t.Run(fmt.Sprintf("%d %s %s", httpStatus, contentType, body), func(t *testing.T) {
					t.Parallel()
					serverURL, calls := bareAnswer(t, httpStatus, contentType, body)

					_, err := newClient(t, modalapi.Options{ServerURL: serverURL}).CreateServiceUser(t.Context(), someToken, ci)

					kind, tried := modalapi.KindUnavailable, "Modal gave no usable answer when asked to create the service user"
					if httpStatus == http.StatusUnauthorized {
						kind, tried = modalapi.KindRefused, "the token was rejected when the engine asked Modal to create the service user"
					}
					var failure *modalapi.Error
					require.ErrorAs(t, err, &failure)
					require.Equal(t, kind.String(), failure.Kind.String())
					require.Equal(t, httpStatus, failure.HTTPStatus)
					require.True(t, modalapi.BareHTTP(err))
					require.True(t, modalapi.MayBeDone(err))
					require.EqualError(t, err, tried+": server_url "+serverURL+" answered HTTP "+text+" without gRPC: a proxy or gateway gave this answer, or the server is not Modal's API")
					require.EqualValues(t, 1, calls.Load())
				})
			}
		}
	}
}

func TestBareHTTP_IsRetriedUnlessItIsARejection(t *testing.T) {
	t.Parallel()
	for httpStatus, attempts := range map[int]int64{401: 1, 403: 4, 404: 4, 502: 4, 520: 4} {
		t.Run(strconv.Itoa(httpStatus), func(t *testing.T) {
			t.Parallel()
			serverURL, calls := bareAnswer(t, httpStatus, "", "")

			_, err := newClient(t, modalapi.Options{ServerURL: serverURL}).WhoAmI(t.Context(), someToken)

			require.True(t, modalapi.BareHTTP(err))
			require.Equal(t, attempts, calls.Load())
		})
	}
}

func TestTransport_UnreachableServerIsNamedWithTheReason(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secure := modaltest.Start(t, modaltest.WithTLS()).URL()
	open := modaltest.Start(t).URL()
	for serverURL, reason := range map[string]string{
		"http://127.0.0.1:1": "Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused",
		web.URL:              "looked like an HTTP/1.1 header",
		secure:               "authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority",
		"https" + strings.TrimPrefix(open, "http"): "authentication handshake failed: tls: first record does not look like a TLS handshake",
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			_, err := newClient(t, modalapi.Options{ServerURL: serverURL}).WhoAmI(t.Context(), someToken)

			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.ErrorContains(t, err, "Modal gave no usable answer when asked to say whose token this is: no answer from server_url "+serverURL+": ")
			require.True(t, strings.HasSuffix(err.Error(), reason), err.Error())
			require.NotContains(t, err.Error(), "desc =")
		})
	}
}

func TestBareHTTP_DoesNotIncludeAnswersOverGRPC(t *testing.T) {
	t.Parallel()
	const report = "unexpected HTTP status code received from server: 401 (Unauthorized); malformed header: missing HTTP content-type"
	for code, kind := range map[codes.Code]modalapi.Kind{
		codes.Unauthenticated:  modalapi.KindRefused,
		codes.PermissionDenied: modalapi.KindForbidden,
		codes.Unimplemented:    modalapi.KindUnsupported,
	} {
		client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) { return nil, status.Error(code, report) })

		_, err := client.WhoAmI(t.Context(), someToken)

		require.Equal(t, kind, modalapi.KindOf(err))
		require.False(t, modalapi.BareHTTP(err))
		require.False(t, modalapi.MayBeDone(err))
	}
	require.False(t, modalapi.BareHTTP(nil))
	require.False(t, modalapi.BareHTTP(io.EOF))
}

func TestTransport_ResetStreamIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, reason := range []http2.ErrCode{http2.ErrCodeInadequateSecurity, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeInternal} {
		t.Run(reason.String(), func(t *testing.T) {
			t.Parallel()
			_, err := newClient(t, modalapi.Options{ServerURL: resetting(t, reason)}).CreateServiceUser(t.Context(), someToken, ci)

			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err), "%v", err)
			require.True(t, modalapi.MayBeDone(err))
			require.False(t, modalapi.BareHTTP(err))
		})
	}
}

func TestTransport_LastWordsOfAServerAreCleaned(t *testing.T) {
	t.Parallel()
	for what, text := range hostileTexts {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			serverURL := onCalls(t, func(framer *http2.Framer, stream uint32) error {
				_ = framer.WriteGoAway(stream, http2.ErrCodeInternal, []byte(text[:min(len(text), 8000)]))
				return io.EOF
			})

			_, err := newClient(t, modalapi.Options{ServerURL: serverURL}).CreateServiceUser(t.Context(), someToken, ci)

			require.ErrorContains(t, err, "Modal gave no usable answer when asked to create the service user: no answer from server_url "+serverURL)
			require.ErrorContains(t, err, "INTERNAL_ERROR, debug data: ")
			require.Less(t, len(err.Error()), 400)
			require.Equal(t, -1, strings.IndexFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }))
			require.NotContains(t, letters(err.Error()), letters(someSecret[3:]))
			require.NotContains(t, err.Error(), "0f1e2d3c4b5a6978QWERTY")
		})
	}
}

// resetting starts a server that resets the stream of every call.
func resetting(t *testing.T, reason http2.ErrCode) (serverURL string) {
	t.Helper()
	return onCalls(t, func(framer *http2.Framer, stream uint32) error { return framer.WriteRSTStream(stream, reason) })
}

// onCalls starts a server that answers every call with frames. It closes the connection after an error.
func onCalls(t *testing.T, answer func(framer *http2.Framer, stream uint32) error) (serverURL string) {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		framer := http2.NewFramer(conn, conn)
		_ = framer.WriteSettings()
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					_ = framer.WriteSettingsAck()
				}
			case *http2.HeadersFrame:
				if answer(framer, frame.StreamID) != nil {
					return
				}
			}
		}
	}()
	return "http://" + listener.Addr().String()
}

func TestMessages_EchoedSecretIsRedacted(t *testing.T) {
	t.Parallel()
	client := answering(t, func(ctx context.Context) (*pb.TokenInfoGetResponse, error) {
		sent, _ := metadata.FromIncomingContext(ctx)
		return nil, status.Error(codes.Unauthenticated, "no token "+someID+" with "+sent.Get("x-modal-token-secret")[0]+"\nsorry")
	})

	_, err := client.WhoAmI(t.Context(), someToken)

	require.EqualError(t, err, "Modal rejected the token: no token "+someID+" with [redacted] sorry")
	require.NotContains(t, status.Convert(err).Message(), someSecret)
}
