// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"reflect"
	"slices"
)

// storedFields says which stored fields each field of a role's write may change. A new schedule replaces the rotation
// period, and a new period replaces the schedule with its window.
var storedFields = map[string][]string{
	"Description": {"description"}, "Environment": {"environment"}, "EnvironmentRoles": {"environment_roles"}, "Scoped": {"scoped"},
	"Refresh": {"refresh_interval"}, "Grace": {"grace_period"}, "RevokePrevious": {"keep_previous"}, "TTL": {"token_ttl"},
	"Period": {"rotation_period", "rotation_schedule", "rotation_window"}, "Schedule": {"rotation_period", "rotation_schedule", "rotation_window"},
	"Window": {"rotation_window"}, "Disabled": {"disable_automated_rotation"}, "HoldWhileUsed": {"hold_while_used"},
	"LeaseTTL": {"ttl"}, "MaxTTL": {"max_ttl"}, "MaxLeases": {"max_leases"}, "NameTemplate": {"service_user_name_template"},
}

// storedConfigFields says which stored field each field of a write of config may change, besides the admin token.
var storedConfigFields = map[string][]string{
	"ServerURL": {"server_url"}, "MaxEnvironmentRole": {"max_environment_role"}, "AllowedEnvironments": {"allowed_environments"},
	"RequestTimeout": {"request_timeout"}, "Pinned": {"pinned_workspace"}, "Verification": {"verification_interval"}, "Paused": {"paused"},
	"CACert": {"ca_cert"},
}

// adminFields are the fields of config that the engine also writes by itself, when it verifies the admin token.
var adminFields = []string{"admin", "limitation", "admin_checked", "admin_rejected"}

// fieldsOfRoleWrites returns the stored fields that the running writes of a role may change.
func (o *oracle) fieldsOfRoleWrites(role string) []string {
	var fields []string
	for _, op := range o.run.running() {
		if op.role == role && op.settings != nil {
			fields = append(fields, writtenFields(*op.settings, storedFields)...)
		}
	}
	return fields
}

// fieldsOfConfigWrites returns the stored fields that the running writes of config may change.
func (o *oracle) fieldsOfConfigWrites() []string {
	fields := slices.Clone(adminFields)
	for _, op := range o.run.running() {
		if op.config != nil {
			fields = append(fields, writtenFields(*op.config, storedConfigFields)...)
		}
	}
	return fields
}

// writtenFields returns the stored fields for the fields that a write sets.
func writtenFields(write any, stored map[string][]string) []string {
	var fields []string
	v := reflect.ValueOf(write)
	for i := range v.NumField() {
		if field := v.Field(i); field.Kind() == reflect.Pointer && !field.IsNil() {
			fields = append(fields, stored[v.Type().Field(i).Name]...)
		}
	}
	return fields
}

// checkFields expects a write to change only the fields that it sets.
func (o *oracle) checkFields(what string, before, after []byte, allowed []string) {
	if before == nil || after == nil {
		return
	}
	was, is := flatEntry(before), flatEntry(after)
	both := maps.Clone(was)
	maps.Copy(both, is)
	for _, field := range slices.Sorted(maps.Keys(both)) {
		if !reflect.DeepEqual(was[field], is[field]) && !slices.Contains(allowed, field) {
			o.run.broken("the field %s of %s changed from %v to %v, but no write sets it", field, what, was[field], is[field])
		}
	}
}

// flatEntry returns the fields of a stored entry. The fields of a role's type stand beside the others.
func flatEntry(raw []byte) map[string]any {
	fields := decode[map[string]any](raw)
	for _, nested := range []string{"managed", "dynamic"} {
		if policy, ok := fields[nested].(map[string]any); ok {
			delete(fields, nested)
			maps.Copy(fields, policy)
		}
	}
	return fields
}
