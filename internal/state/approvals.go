// SPDX-License-Identifier: MPL-2.0

package state

import "context"

// ApprovalServers returns the servers of all flows that the engine still asks Modal about.
func (m *Mount) ApprovalServers(ctx context.Context) (servers []string, err error) {
	keys, err := m.Approvals.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		a, err := m.Approvals.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		if a == nil {
			continue
		}
		if a.WaitSecret != "" {
			servers = append(servers, a.ServerURL)
		}
		for _, late := range a.EndedFlows {
			servers = append(servers, late.ServerURL)
		}
	}
	return servers, nil
}
