// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
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

// noContent documents that an operation may have nothing to answer.
func noContent(op *framework.PathOperation, what string) *framework.PathOperation {
	op.Responses[http.StatusNoContent] = []framework.Response{{Description: what}}
	return op
}

func listFields(what string) responses {
	return responses{
		"keys":     {Type: framework.TypeStringSlice, Description: what},
		"key_info": {Type: framework.TypeMap, Description: "Details of each, by key."},
	}
}

// expected is what Vault checked the caller's rights for.
func expected(req *logical.Request) model.Expectation {
	switch req.Operation {
	case logical.CreateOperation:
		return model.ExpectAbsent
	case logical.UpdateOperation:
		return model.ExpectPresent
	default:
		return model.ExpectNothing
	}
}
