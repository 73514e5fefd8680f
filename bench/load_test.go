// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentile_IsTheSmallestSufficientValue(t *testing.T) {
	t.Parallel()
	require.Equal(t, 7, percentile([]int{7}, 99))
	require.Equal(t, 2, percentile([]int{4, 1, 3, 2}, 50))
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	require.Equal(t, 99, percentile(hundred, 99))
	require.Equal(t, 2, median([]int{9, 1, 2}))
}

func TestRatio_ComparesRoundsAndNotMedians(t *testing.T) {
	t.Parallel()
	r := rounds{creds: {8: {{rate: 30}, {rate: 20}, {rate: 10}}}, noop: {8: {{rate: 20}, {rate: 10}, {rate: 20}}}}
	require.InDelta(t, 1.5, r.ratio(creds, noop, 8), 1e-9)
}

func TestLoad_CountsReadsAndReportsErrorAnswers(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.URL.Path != "/v1/modal/creds/ci" || r.Header.Get("X-Vault-Token") != "token" {
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = w.Write([]byte("four"))
	}))
	t.Cleanup(server.Close)
	r := newReader(server.URL, "token")

	got, err := r.load(t.Context(), creds.path, 4, 50*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, served.Load(), int64(got.reads))
	require.Equal(t, int64(4), got.bytes)
	require.Positive(t, got.p50)
	require.GreaterOrEqual(t, got.p99, got.p50)

	_, err = r.load(t.Context(), noop.path, 4, 50*time.Millisecond)
	require.ErrorContains(t, err, "403")
}
