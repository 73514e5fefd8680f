// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"maps"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-modal/internal/model"
)

// adminFields are what is told of the admin token.
func adminFields() responses {
	return with(tokenFields(), responses{
		fieldManagesServiceUsers: flag("Whether the admin token can manage service users, as managed and dynamic roles need."),
		fieldLimitation:          text("Why it cannot."),
		fieldServiceUserPrefix:   required(text("How the names of this mount's service users at Modal begin.")),
		fieldPaused:              required(flag("Whether the engine does nothing at Modal by itself.")),
	})
}

func configFields() responses {
	return with(adminFields(), responses{
		fieldState:                required(text(`How the admin token stands: "none", "ok", "unverified", "limited" (it cannot manage service users), "expired" or "rejected".`)),
		fieldVerificationInterval: required(number("Seconds between two questions whether Modal still accepts a current token; 0: never.")),
		fieldServerURL:            required(text("Modal's control plane.")),
		fieldCACert:               text("PEM certificates that the server must chain to; absent: the system's roots."),
		fieldRequestTimeout:       required(number("Bound of one call to Modal, in seconds.")),
		fieldAllowedEnvironments: {
			Type: framework.TypeStringSlice, Description: "Environments that managed and dynamic roles may name; absent: all.",
		},
		fieldMaxEnvironmentRole: text("Most that managed and dynamic roles may be in an environment; absent: contributor."),
		fieldPinnedWorkspace:    text("Name or ID of the workspace that every supplied or approved token must belong to; absent: any."),
		fieldPinnedWorkspaceID:  text("ID of that workspace (ac-…); absent as long as no verified token has shown which one has the name."),
	})
}

// configWrittenFields are the answer to a write.
func configWrittenFields() responses {
	return with(adminFields(), responses{fieldNextStep: required(text("What comes next."))})
}

// adminView tells whose the admin token is and what it can, never its secret.
func (b *backend) adminView(cfg *model.Config) map[string]any {
	data := map[string]any{fieldServiceUserPrefix: b.engine.Mount.ServiceUserPrefix(), fieldPaused: cfg.Paused}
	putText(data, fieldLimitation, cfg.Limitation)
	if cfg.Admin != nil {
		maps.Copy(data, tokenView(*cfg.Admin))
		data[fieldManagesServiceUsers] = cfg.Admin.Verified() && cfg.Limitation == ""
	}
	return data
}

func (b *backend) configView(cfg *model.Config) map[string]any {
	data := b.adminView(cfg)
	data[fieldServerURL] = cfg.ServerURL
	data[fieldRequestTimeout] = int64(cfg.RequestTimeout.Seconds())
	data[fieldVerificationInterval] = int64(cfg.VerificationEvery().Seconds())
	data[fieldState] = cfg.State(b.engine.Mount.Now())
	if cfg.CACert != "" {
		data[fieldCACert] = cfg.CACert
	}
	putText(data, fieldMaxEnvironmentRole, string(cfg.MaxEnvironmentRole))
	putText(data, fieldPinnedWorkspace, cfg.PinnedWorkspace)
	if len(cfg.AllowedEnvironments) > 0 {
		data[fieldAllowedEnvironments] = cfg.AllowedEnvironments
	}
	return data
}

func (b *backend) configWrittenView(cfg *model.Config) map[string]any {
	data := b.adminView(cfg)
	data[fieldNextStep] = b.engine.Configs.NextStep(cfg)
	return data
}
