// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// sample is the result of several clients that read one path, each again after each answer.
type sample struct {
	reads int
	// rate is the number of reads per second.
	rate     float64
	p50, p99 time.Duration
	bytes    int64
	// processor is the processor time of Vault and its plugins per read.
	processor time.Duration
}

// reader reads paths of one Vault server over persistent connections.
type reader struct {
	addr, token string
	http        *http.Client
}

func newReader(addr, token string) *reader {
	return &reader{addr: addr, token: token, http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: slices.Max(clientCounts), MaxConnsPerHost: slices.Max(clientCounts)},
	}}
}

// read reads a path once and returns the size of the answer. Any status except 200 is an error.
func (r *reader) read(ctx context.Context, path string) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.addr+"/v1/"+path, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	req.Header.Set("X-Vault-Token", r.token)
	resp, err := r.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }() // the body was read to its end, so the connection stays open
	size, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("read %s: %s", path, resp.Status)
	}
	return size, nil
}

// load lets clients read a path for a while and measures the reads.
func (r *reader) load(ctx context.Context, path string, clients int, during time.Duration) (sample, error) {
	took := make([][]time.Duration, clients)
	sizes := make([]int64, clients)
	group, ctx := errgroup.WithContext(ctx)
	begun := time.Now()
	for i := range clients {
		group.Go(func() (err error) {
			for last := begun; last.Sub(begun) < during; {
				if sizes[i], err = r.read(ctx, path); err != nil {
					return err
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(last))
				last = now
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return sample{}, err
	}
	elapsed := time.Since(begun)
	all := slices.Concat(took...)
	return sample{
		reads: len(all), rate: float64(len(all)) / elapsed.Seconds(), p50: percentile(all, 50), p99: percentile(all, 99), bytes: sizes[0],
	}, nil
}

// percentile returns the smallest value that at least the given percentage of values do not exceed.
func percentile[T cmp.Ordered](all []T, percent int) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

// median returns the middle value, the lower of two.
func median[T cmp.Ordered](all []T) T { return percentile(all, 50) }

func rate(s sample) float64 { return s.rate }
func p50(s sample) float64  { return float64(s.p50) }
func p99(s sample) float64  { return float64(s.p99) }

// typicalOf returns the median of one figure.
func typicalOf(all []sample, figure func(sample) float64) float64 {
	var figures []float64
	for _, s := range all {
		figures = append(figures, figure(s))
	}
	return median(figures)
}
