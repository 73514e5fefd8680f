// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

const operationPrefix = "modal"

// rolePattern matches any one path segment, so that an invalid name gets a message instead of a bare 404.
const rolePattern = `(?P<` + request.FieldRole + `>[^/]+)`

type responses = map[string]*framework.FieldSchema

// handler responds to a decoded request.
type handler[T any] func(ctx context.Context, req *logical.Request, ask T) (*logical.Response, error)

// local declares an operation that only reads storage.
func local[T any](parse func(*request.Decoder) T, handle handler[T], summary string, fields responses) *framework.PathOperation {
	return &framework.PathOperation{Callback: serve(parse, handle), Summary: summary, Responses: documentedResponses(fields)}
}

// forwarded declares an operation that writes to storage or calls Modal. Standbys and secondaries forward it to the
// node that may write.
func forwarded[T any](parse func(*request.Decoder) T, handle handler[T], summary string, fields responses) *framework.PathOperation {
	op := local(parse, handle, summary, fields)
	op.ForwardPerformanceStandby = true
	op.ForwardPerformanceSecondary = true
	return op
}

// documentedResponses documents the responses of an operation. Without fields the response is empty or has only
// warnings.
func documentedResponses(fields responses) map[int][]framework.Response {
	if fields == nil {
		return map[int][]framework.Response{
			http.StatusOK:        {{Description: "Done, with warnings."}},
			http.StatusNoContent: {{Description: "Done."}},
		}
	}
	return map[int][]framework.Response{http.StatusOK: {{Description: http.StatusText(http.StatusOK), Fields: fields}}}
}

// noContent documents that the response of an operation may be empty.
func noContent(op *framework.PathOperation, what string) *framework.PathOperation {
	op.Responses[http.StatusNoContent] = []framework.Response{{Description: what}}
	return op
}

func listFields(what string) responses {
	return responses{
		"keys":     {Type: framework.TypeStringSlice, Description: what},
		"key_info": {Type: framework.TypeMap, Description: "Details of each key."},
	}
}

// expectationOf returns whether Vault checked the caller's rights to create or to update.
func expectationOf(req *logical.Request) model.Expectation {
	switch req.Operation {
	case logical.CreateOperation:
		return model.ExpectAbsent
	case logical.UpdateOperation:
		return model.ExpectPresent
	default:
		return model.NoExpectation
	}
}

// serve turns a parse function and a handler into a callback of the framework.
func serve[T any](parse func(*request.Decoder) T, handle handler[T]) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		in := request.Decode(d, request.BodyOf(ctx, req))
		ask := parse(in)
		if err := in.Err(); err != nil {
			return errorResponse(err)
		}
		resp, err := handle(ctx, req, ask)
		if err != nil {
			return errorResponse(err)
		}
		return resp, nil
	}
}

// noFields is the parse function of a path that takes no field.
func noFields(*request.Decoder) struct{} { return struct{}{} }

// nameOf is the parse function of a path that takes only the role or the ID in its URL.
func nameOf(in *request.Decoder) string { return in.Name }

// page is a part of a list, as in OpenBao's "list -after -limit".
type page struct {
	after string
	limit int // 0 for no limit
}

func pageFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAfter: {
			Type: framework.TypeString, Query: true,
			Description: "List only names after this name, in the order of names. The name need not exist.",
		},
		fieldLimit: {
			Type: framework.TypeInt, Query: true,
			Description: "List at most this many names, in the order of names (default, 0 or less: all).",
		},
	}
}

func parsePage(in *request.Decoder) page {
	return page{after: in.Text(fieldAfter).Apply("", ""), limit: request.Field(in, fieldLimit, parseLimit).Apply(0, 0)}
}

func parseLimit(raw any) (limit int, mistake string) {
	limit, err := request.ParseInteger(raw)
	if err != nil {
		return 0, "write a whole number"
	}
	return max(limit, 0), ""
}

// choose returns the names of the page, in the order of names. Without a page it returns all names as they are.
func (p page) choose(names []string) []string {
	if p == (page{}) {
		return names
	}
	chosen := slices.DeleteFunc(slices.Sorted(slices.Values(names)), func(name string) bool { return name <= p.after })
	if p.limit > 0 {
		chosen = chosen[:min(p.limit, len(chosen))]
	}
	return chosen
}

// paged returns one page of a list. Pages follow the order of names, because that order is the same at every request.
// list may return more than the page, and need not sort it.
func paged(list func(context.Context, page) (*logical.Response, error)) handler[page] {
	return func(ctx context.Context, _ *logical.Request, ask page) (*logical.Response, error) {
		resp, err := list(ctx, ask)
		if err != nil || ask == (page{}) {
			return resp, err
		}
		all, _ := resp.Data["keys"].([]string)
		keys := ask.choose(all)
		info, _ := resp.Data["key_info"].(map[string]any)
		maps.DeleteFunc(info, func(key string, _ any) bool {
			_, listed := slices.BinarySearch(keys, key)
			return !listed
		})
		part := logical.ListResponseWithInfo(keys, info)
		part.Warnings = resp.Warnings
		return part, nil
	}
}
