// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// Objects that a read may not find.
const (
	noSuchRole  = "There is no such role."
	noSuchEntry = "The revocation queue has no such token."

	noSuchApproval = "No approval was begun."
)

// missing documents that a read may find nothing.
func missing(read *framework.PathOperation, what string) *framework.PathOperation {
	read.Responses[http.StatusNotFound] = []framework.Response{{Description: what}}
	return read
}

// notFound answers a read of what is not there with 404 and says so. Vault's Go client, and with it the
// command line, Agent and the Kubernetes operators, drops the errors of a 404 unless something else stands
// beside them: then they are the error that it reports, where "No value found" was all that people saw.
func notFound(req *logical.Request, text string) (*logical.Response, error) {
	if req.WrapInfo != nil && req.WrapInfo.TTL > 0 { // Vault would wrap this answer as if it were one
		return nil, absent(text)
	}
	body, err := json.Marshal(map[string]any{"errors": []string{text}, "path": req.MountPoint + req.Path})
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode: http.StatusNotFound, logical.HTTPContentType: "application/json", logical.HTTPRawBody: string(body),
	}}, nil
}

// absent is the same for paths that Terraform manages: it makes an object anew where Vault's Go client
// says that there is nothing, and stops at an error.
func absent(text string) error { return logical.CodedError(http.StatusNotFound, text) }
