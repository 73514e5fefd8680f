// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const operationPrefix = "modal"

// rolePattern takes any one path segment, so that an odd name gets a message and not a bare 404.
const rolePattern = `(?P<` + fieldRole + `>[^/]+)`

type responses = map[string]*framework.FieldSchema

// handler answers a request that the door has parsed.
type handler[T any] func(ctx context.Context, req *logical.Request, ask T) (*logical.Response, error)

// local is an operation that only reads storage.
func local[T any](parse func(*door) T, handle handler[T], summary string, fields responses) *framework.PathOperation {
	return &framework.PathOperation{Callback: enter(parse, handle), Summary: summary, Responses: responded(fields)}
}

// forwarded is an operation that writes or calls Modal: only the node that may write runs it.
func forwarded[T any](parse func(*door) T, handle handler[T], summary string, fields responses) *framework.PathOperation {
	op := local(parse, handle, summary, fields)
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

// refuseOvertaken refuses a write whose rights Vault checked for a state that is gone: whoever may only
// create does not change what another request made meanwhile, nor the other way round.
func refuseOvertaken(req *logical.Request, what string, exists bool) error {
	switch {
	case exists && req.Operation == logical.CreateOperation:
		return refusef("%s was made by another request meanwhile: read it, then write again; nothing was changed", what)
	case !exists && req.Operation == logical.UpdateOperation:
		return refusef("%s was deleted by another request meanwhile: write again to make it anew; nothing was changed", what)
	}
	return nil
}
