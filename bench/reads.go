// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"vault-plugin-secrets-modal/e2e/lab"
)

// clientCounts are the numbers of parallel clients.
var clientCounts = []int{1, 8, 32}

// target is a path to read, under its name in the tables.
type target struct{ name, path string }

// Two targets show the effect of one setting. creds with GOGC=100, Go's default, shows the effect of the tuned
// garbage collector. A no-op path with Callbacks shows the effect of not asking Vault for its replication state.
var (
	creds      = target{"creds/<role>", "modal/creds/ci"}
	noop       = target{"no-op plugin", "noop/creds/ci"}
	callbacks  = target{"no-op plugin, Callbacks", "noop/callbacks/ci"}
	externalKV = target{"KV v1, external", "kv-external/ci"}

	targets = []target{
		creds,
		{"creds/<role>/env", "modal/creds/ci/env"},
		{"creds/<role>/dotenv", "modal/creds/ci/dotenv"},
		{"creds/<role>/toml", "modal/creds/ci/toml"},
		{"creds/<role>, GOGC=100", "modal-untuned/creds/ci"},
		noop,
		callbacks,
		{"KV v1, built in", "kv1/ci"},
		{"KV v2, built in", "kv2/data/ci"},
		externalKV,
	}
)

// mountTargets creates the targets. The KV entries contain the answer of creds.
func (s *server) mountTargets(ctx context.Context) error {
	if err := s.registerOthers(ctx); err != nil {
		return err
	}
	for path, plugin := range map[string]string{"modal": lab.PluginName, "modal-untuned": "modal-untuned"} {
		if err := s.mountEngine(ctx, path, plugin); err != nil {
			return err
		}
		if err := s.newRole(ctx, path+"/roles/ci"); err != nil {
			return err
		}
	}
	answer, err := s.api.Logical().ReadWithContext(ctx, "modal/creds/ci")
	if err != nil {
		return err
	}
	for _, m := range []struct {
		path, plugin string
		options      map[string]string
	}{
		{"noop", "noop", nil},
		{"kv1", "kv", map[string]string{"version": "1"}},
		{"kv2", "kv", map[string]string{"version": "2"}},
		{"kv-external", "kv-external", nil},
	} {
		if err := s.mount(ctx, m.path, m.plugin, m.options); err != nil {
			return err
		}
	}
	// Vault uses a key ttl in KV as the lease duration.
	delete(answer.Data, "ttl")
	for path, data := range map[string]map[string]any{
		"kv1/ci": answer.Data, "kv-external/ci": answer.Data, "kv2/data/ci": {"data": answer.Data},
	} {
		// KV version 2 refuses writes for a moment after it is enabled.
		if err := lab.Until(ctx, path+" to take a write", func() error { return s.write(ctx, path, data) }); err != nil {
			return err
		}
	}
	return nil
}

// registerOthers registers the plugins that the engine is compared with.
func (s *server) registerOthers(ctx context.Context) error {
	if err := s.add(ctx, "noop", ".", "./bench/noop"); err != nil {
		return err
	}
	if err := s.add(ctx, "kv-external", "bench/kv", "github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv"); err != nil {
		return err
	}
	return s.addEngine(ctx, "modal-untuned", "GOGC=100")
}

// rounds are the samples of each target, by the number of clients, one sample per round.
type rounds map[target]map[int][]sample

// measure reads the targets in turns, in another order each time. So neither drift nor the effects of the previous
// target favour a target. It discards a warm-up before each sample.
func (s *server) measure(ctx context.Context, targets []target, clientCounts []int, count int, each time.Duration) (rounds, error) {
	r := newReader(s.Addr, s.Token)
	all := rounds{}
	for _, t := range targets {
		all[t] = map[int][]sample{}
	}
	for range count {
		for _, clients := range clientCounts {
			for _, i := range rand.Perm(len(targets)) {
				t := targets[i]
				if _, err := r.load(ctx, t.path, clients, each/10); err != nil {
					return nil, err
				}
				got, err := s.sample(ctx, r, t, clients, each)
				if err != nil {
					return nil, err
				}
				all[t][clients] = append(all[t][clients], got)
			}
		}
	}
	return all, nil
}

// sample measures a load and the server's processor time for it.
func (s *server) sample(ctx context.Context, r *reader, t target, clients int, each time.Duration) (sample, error) {
	before, err := s.processorTime()
	if err != nil {
		return sample{}, err
	}
	got, err := r.load(ctx, t.path, clients, each)
	if err != nil {
		return sample{}, err
	}
	after, err := s.processorTime()
	got.processor = (after - before) / time.Duration(got.reads)
	return got, err
}

// ratio returns the throughput of one target relative to another, as the median of the rounds' ratios.
func (r rounds) ratio(a, b target, clients int) float64 {
	var ratios []float64
	for i, got := range r[a][clients] {
		ratios = append(ratios, got.rate/r[b][clients][i].rate)
	}
	return median(ratios)
}

// typical returns the median of each figure.
func (r rounds) typical(t target, clients int) sample {
	pick := func(figure func(sample) float64) float64 { return typicalOf(r[t][clients], figure) }
	return sample{
		rate:  pick(rate),
		p50:   time.Duration(pick(p50)),
		p99:   time.Duration(pick(p99)),
		bytes: r[t][clients][0].bytes,

		processor: time.Duration(pick(func(s sample) float64 { return float64(s.processor) })),
	}
}

func benchReads(ctx context.Context, s *server, o options) error {
	if err := s.mountTargets(ctx); err != nil {
		return err
	}
	all, err := s.measure(ctx, targets, clientCounts, o.rounds, o.each)
	if err != nil {
		return err
	}
	for _, clients := range clientCounts {
		var rows [][]string
		for _, t := range targets {
			got := all.typical(t, clients)
			rows = append(rows, []string{
				t.name, fmt.Sprintf("%.0f", got.rate), milliseconds(got.p50), milliseconds(got.p99), strconv.FormatInt(got.bytes, 10), fmt.Sprintf("%d µs", got.processor.Microseconds()),
				fmt.Sprintf("%.2f", all.ratio(t, noop, clients)), fmt.Sprintf("%.1f", all.ratio(t, externalKV, clients)),
			})
		}
		table(fmt.Sprintf("Reads, %d clients: medians of %d rounds of %s each", clients, o.rounds, o.each),
			[]string{"read", "req/s", "p50", "p99", "bytes", "CPU a read", "× no-op plugin", "× external KV"}, rows)
	}
	return nil
}
