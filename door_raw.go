// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"maps"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
)

// fieldData is a request that is not typed yet, with values that are each of its field's type.
func fieldData(in *door) *framework.FieldData {
	d := &framework.FieldData{Raw: maps.Clone(in.body), Schema: in.fields}
	if d.Raw == nil {
		d.Raw = map[string]any{}
	}
	for _, field := range slices.Sorted(maps.Keys(in.body)) {
		if in.fields[field] == nil {
			continue
		}
		if _, _, err := d.GetOkErr(field); err != nil {
			in.refuse(field, "write "+shapeOf(in.fields[field].Type))
		}
	}
	if in.fields[fieldRole] != nil {
		d.Raw[fieldRole] = in.name
	}
	return d
}

func shapeOf(t framework.FieldType) string {
	switch t {
	case framework.TypeDurationSecond:
		return "a duration that is not negative, as 300, 5m, 24h or 90d"
	case framework.TypeBool:
		return "true or false"
	case framework.TypeString:
		return "one text, and once"
	default:
		return "a value of type " + t.String()
	}
}
