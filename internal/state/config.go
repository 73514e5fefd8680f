// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"

	"vault-plugin-secrets-modal/internal/model"
)

// LoadConfig returns the stored config, or the defaults if nothing is stored.
func (m *Mount) LoadConfig(ctx context.Context) (*model.Config, error) {
	cfg, err := m.Config.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if cfg == nil {
		return model.DefaultConfig, nil
	}
	return cfg, nil
}
