// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-modal/internal/request"
)

// DecodedForTest returns a decoded write to a path as text, or its refusal.
func DecodedForTest(b *Backend, path string, body map[string]any) (ask, refused string) {
	in := request.Decode(&framework.FieldData{Schema: b.Route(path).Fields, Raw: map[string]any{"role": "x", "id": "ak"}}, body)
	var typed any
	switch path {
	case "config":
		typed = parseConfig(in)
	case "orphans":
		typed = parseCleanup(in)
	case "lookup":
		typed = parseLookup(in)
	case "config/rotate":
		typed = parseAdminRotation(in)
	case "config/approval", "rotate/x/approval":
		typed = parseApproval(in)
	case "roles/x":
		typed = parseRole(in)
	case "rotate/x":
		typed = parseRotate(in)
	default:
		typed = parseRevocation(in)
	}
	if err := in.Err(); err != nil {
		return "", err.Error()
	}
	if ask, isRotate := typed.(rotateRequest); isRotate && ask.Grace != nil {
		return fmt.Sprintf("%+v %s", typed, *ask.Grace), ""
	}
	return fmt.Sprintf("%+v", typed), ""
}
