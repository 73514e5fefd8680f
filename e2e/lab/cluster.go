// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// clusterSize is the smallest cluster that survives the loss of a node.
const clusterSize = 3

// Cluster is a group of Vault servers that share one Raft storage, one audit file and one plugin directory.
// One node is active. The others forward requests, or (OpenBao) answer reads themselves.
type Cluster struct{ Nodes []*Vault }

// StartCluster starts a new cluster of three unsealed nodes that all vote.
func (l *Lab) StartCluster(ctx context.Context) (*Cluster, error) {
	c := &Cluster{}
	for i := range clusterSize {
		node, err := l.newVault(ctx, "vault-"+strconv.Itoa(i+1), "GRPC_GO_LOG_SEVERITY_LEVEL=info")
		if err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, node)
	}
	first := c.Nodes[0]
	if err := first.found(ctx); err != nil {
		return nil, err
	}
	for _, node := range c.Nodes[1:] {
		if err := node.join(ctx, first); err != nil {
			return nil, err
		}
	}
	if err := Until(ctx, "every node to vote", func() error { return first.allVote(ctx) }); err != nil {
		return nil, err
	}
	return c, first.must(ctx, "audit", "enable", "file", "file_path="+first.Audit)
}

// Leader waits until the cluster has an active node and returns that node. It skips nodes that do not answer.
func (c *Cluster) Leader(ctx context.Context) (*Vault, error) {
	var leader *Vault
	err := Until(ctx, "an active node", func() error {
		for _, node := range c.Nodes {
			if node.active(ctx) {
				leader = node
				return nil
			}
		}
		return errors.New("the cluster has no active node")
	})
	return leader, err
}

// Connections returns how often the node's plugin has started to connect to an address, according to gRPC's
// log lines.
func (v *Vault) Connections(address string) (int, error) {
	log, err := os.ReadFile(v.Log)
	if err != nil {
		return 0, fmt.Errorf("reading Vault's log: %w", err)
	}
	return strings.Count(string(log), fmt.Sprintf(`picks a new address \"%s\" to connect`, address)), nil
}

// join adds the server to the cluster of the given leader.
func (v *Vault) join(ctx context.Context, leader *Vault) error {
	if err := v.must(ctx, "operator", "raft", "join", leader.Addr); err != nil {
		return err
	}
	v.unseal, v.Token, v.CLI = leader.unseal, leader.Token, v.As(leader.Token)
	return v.Unseal(ctx)
}

// active reports whether the server is its cluster's active node.
func (v *Vault) active(ctx context.Context) bool {
	var status struct {
		Active bool `json:"is_self"`
	}
	result, err := v.Run(ctx, "", "status", "-format=json")
	return err == nil && result.Code == 0 && json.Unmarshal([]byte(result.Stdout), &status) == nil && status.Active
}

// allVote returns an error until every node of the cluster votes.
func (v *Vault) allVote(ctx context.Context) error {
	result, err := v.Run(ctx, "", "operator", "raft", "list-peers", "-format=json")
	if err = errors.Join(err, result.Err()); err != nil {
		return err
	}
	var peers struct {
		Data struct {
			Config struct {
				Servers []struct {
					ID    string `json:"node_id"`
					Voter bool   `json:"voter"`
				} `json:"servers"`
			} `json:"config"`
		} `json:"data"`
	}
	if err = json.Unmarshal([]byte(result.Stdout), &peers); err != nil {
		return fmt.Errorf("reading the cluster's peers: %w", err)
	}
	servers := peers.Data.Config.Servers
	if len(servers) != clusterSize {
		return fmt.Errorf("the cluster has %d nodes", len(servers))
	}
	for _, server := range servers {
		if !server.Voter {
			return fmt.Errorf("%s does not vote yet", server.ID)
		}
	}
	return nil
}
