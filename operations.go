// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const operationPrefix = "modal"

var roleName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?$`)

// rolePattern takes any one path segment, so that an odd name gets a message and not a bare 404.
const rolePattern = `(?P<` + fieldRole + `>[^/]+)`

type responses = map[string]*framework.FieldSchema

// local is an operation that only reads storage.
func local(handler framework.OperationFunc, summary string, fields responses) *framework.PathOperation {
	return &framework.PathOperation{Callback: handler, Summary: summary, Responses: responded(fields)}
}

// forwarded is an operation that writes or calls Modal: only the node that may write runs it.
func forwarded(handler framework.OperationFunc, summary string, fields responses) *framework.PathOperation {
	op := local(handler, summary, fields)
	op.ForwardPerformanceStandby = true
	op.ForwardPerformanceSecondary = true
	return op
}

// responded documents the answer; without fields the answer is empty, or warnings alone.
func responded(fields responses) map[int][]framework.Response {
	if fields == nil {
		return map[int][]framework.Response{
			http.StatusOK:        {{Description: "Done, with warnings."}},
			http.StatusNoContent: {{Description: "Done."}},
		}
	}
	return map[int][]framework.Response{http.StatusOK: {{Description: http.StatusText(http.StatusOK), Fields: fields}}}
}

func listFields(what string) responses {
	return responses{
		"keys":     {Type: framework.TypeStringSlice, Description: what},
		"key_info": {Type: framework.TypeMap, Description: "What is known of each, by key."},
	}
}

// guarded makes every operation of a path refuse what no handler should meet, and answer errors in
// one way.
func guarded(path *framework.Path) *framework.Path {
	for _, op := range path.Operations {
		operation, _ := op.(*framework.PathOperation)
		handler := operation.Callback
		operation.Callback = func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
			resp, err := (*logical.Response)(nil), refuseInput(path, req, d)
			if err == nil {
				resp, err = handler(ctx, req, d)
			}
			if err != nil {
				return answer(err)
			}
			return resp, nil
		}
	}
	return path
}

func refuseInput(path *framework.Path, req *logical.Request, d *framework.FieldData) error {
	for field := range req.Data {
		if path.Fields[field] == nil {
			return refuseField(path, field)
		}
	}
	if path.Fields[fieldRole] != nil {
		return refuseRoleName(textOf(d, fieldRole))
	}
	return nil
}

// refuseValues refuses a value that is not of its field's type, without repeating it: it may be a secret.
func refuseValues(path *framework.Path, data map[string]any) error {
	if path == nil {
		return nil
	}
	d := &framework.FieldData{Raw: data, Schema: path.Fields}
	for _, field := range slices.Sorted(maps.Keys(data)) {
		if path.Fields[field] == nil {
			continue // refuseInput names the nearest
		}
		if _, _, err := d.GetOkErr(field); err != nil {
			return refusef("%s: write %s; nothing was changed", field, shapeOf(path.Fields[field].Type))
		}
	}
	return nil
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

func refuseField(path *framework.Path, field string) error {
	known := slices.Sorted(maps.Keys(path.Fields))
	known = slices.DeleteFunc(known, func(name string) bool { return name == fieldRole || name == fieldID })
	if len(known) == 0 {
		return refusef("unknown field %q: this path takes none; nothing was changed", field)
	}
	nearest := slices.MinFunc(known, func(a, b string) int {
		return levenshtein.ComputeDistance(field, a) - levenshtein.ComputeDistance(field, b)
	})
	return refusef("unknown field %q: did you mean %q? this path takes %s; nothing was changed",
		field, nearest, strings.Join(known, ", "))
}

func refuseRoleName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case strings.Contains(name, ".."):
		return refusef(`role name %q: write no ".." in it, as Vault's storage refuses that`, name)
	case roleName.MatchString(name):
		return nil
	case roleName.MatchString(lower):
		return refusef("role name %q has upper-case letters: write %q, as one spelling is what policies can match", name, lower)
	default:
		return refusef(`role name %q: use up to 64 lower-case letters, digits, "-", "_" and ".", and begin and end with a letter or digit`, name)
	}
}
