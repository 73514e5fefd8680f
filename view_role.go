// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import "vault-plugin-secrets-modal/internal/model"

// roleView is the whole policy, as it may be shown.
func roleView(r *model.Role, name string) map[string]any {
	data := map[string]any{fieldType: r.Type, fieldProfile: r.ProfileOr(name)}
	putText(data, fieldEnvironment, r.EffectiveEnvironment())
	switch {
	case r.Dynamic != nil:
		dynamicView(r.Dynamic, data)
		return data
	case r.Managed != nil:
		managedView(r.Managed, data)
	default:
		data[fieldRevokePrevious] = !r.KeepPrevious
	}
	data[fieldRefreshInterval] = int64(r.RefreshInterval.Seconds())
	data[fieldGracePeriod] = int64(r.GracePeriod.Seconds())
	if r.Managed == nil || r.Managed.Schedule == "" {
		data[fieldRotationPeriod] = int64(r.RotationPeriod.Seconds())
	}
	return data
}

func accessView(a model.Access, data map[string]any) {
	data[fieldScoped] = a.Scoped
	if len(a.EnvironmentRoles) > 0 {
		data[fieldEnvironmentRoles] = a.EnvironmentRoles
	}
}

func managedView(p *model.ManagedPolicy, data map[string]any) {
	accessView(p.Access, data)
	data[fieldDisableRotation] = p.Disabled
	if p.TokenTTL != 0 {
		data[fieldTokenTTL] = int64(p.TokenTTL.Seconds())
	}
	if p.Window != 0 {
		data[fieldRotationWindow] = int64(p.Window.Seconds())
	}
	if p.Hold != 0 {
		data[fieldHold] = int64(p.Hold.Seconds())
	}
	putText(data, fieldRotationSchedule, p.Schedule)
}

func dynamicView(p *model.DynamicPolicy, data map[string]any) {
	accessView(p.Access, data)
	data[fieldTTL] = int64(p.TTL.Seconds())
	data[fieldMaxTTL] = int64(p.MaxTTL.Seconds())
	data[fieldMaxLeases] = int64(p.MaxLeases)
}
