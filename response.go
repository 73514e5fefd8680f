// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

// errorResponse turns an error into Vault's response: 400 for a mistake or a token that Modal rejects, 502 for trouble
// at Modal, 503 for a request that was canceled, 500 for the rest. Coded errors are returned bare and storage errors
// keep their text, because the plugin protocol turns errors into text.
//
// Vault shows a coded error as a list, "1 error occurred: * …", and the text of a response as it is. Vault gives a
// response the status 502 only if the error beside it has this text.
func errorResponse(err error) (*logical.Response, error) {
	switch {
	case model.IsUserError(err):
		return logical.ErrorResponse("%s", err), logical.ErrInvalidRequest
	case model.IsNotFound(err):
		return nil, logical.CodedError(http.StatusNotFound, err.Error())
	case model.IsCanceled(err):
		return nil, logical.CodedError(http.StatusServiceUnavailable, err.Error())
	case model.IsUpstream(err):
		return logical.ErrorResponse("%s", err), logical.CodedError(http.StatusBadGateway, logical.ErrUpstreamRateLimited.Error())
	}
	return nil, err
}

// Descriptions of a response with status 404.
const (
	noSuchRole       = "The role does not exist."
	noSuchRevocation = "The revocation queue does not have this token."

	noSuchApproval = "This path has no approval."
)

// mayBeMissing documents that a read may respond with status 404.
func mayBeMissing(read *framework.PathOperation, what string) *framework.PathOperation {
	read.Responses[http.StatusNotFound] = []framework.Response{{Description: what}}
	return read
}

// notFound responds with status 404 and a message. Vault's Go client drops the errors of a 404 unless the body has
// another key, and so do the command line, Agent and the Kubernetes operators: people would see only "No value found".
// With the key "path" the client reports the message.
func notFound(req *logical.Request, text string) (*logical.Response, error) {
	if req.WrapInfo != nil && req.WrapInfo.TTL > 0 { // Vault would wrap this answer as if it were one
		return nil, notFoundError(text)
	}
	body, err := json.Marshal(map[string]any{"errors": []string{text}, "path": req.MountPoint + req.Path})
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode: http.StatusNotFound, logical.HTTPContentType: "application/json", logical.HTTPRawBody: string(body),
	}}, nil
}

// notFoundError returns the error for a missing object on paths that Terraform manages. Terraform creates an object
// again if Vault's Go client finds nothing, and stops at a message.
func notFoundError(text string) error { return logical.CodedError(http.StatusNotFound, text) }

// maxBrief is the longest error in a list. The longest text of a column decides its width.
const maxBrief = 40

// brief shortens an error for a list to the part about Modal, in whole words. A read has the full text.
func brief(text string) string {
	if at := strings.Index(text, "Modal "); at > 0 {
		text = text[at:]
	}
	if len(text) <= maxBrief {
		return text
	}
	const more = "…"
	cut := strings.LastIndexAny(text[:maxBrief-len(more)+1], " ,;:")
	if cut <= 0 {
		return "see the read"
	}
	return strings.TrimRight(text[:cut], " ,;:") + more
}

// maxListedDescription is how many characters of a description a list shows.
const maxListedDescription = 60

// shorten cuts a text to so many characters.
func shorten(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return strings.TrimSpace(string(runes[:most-1])) + "…"
}

// numbered joins items into one line with numbers. A terminal would show a second line as a field.
func numbered(items []string) string {
	parts := make([]string, 0, len(items))
	for i, item := range items {
		parts = append(parts, fmt.Sprintf("%d. %s", i+1, item))
	}
	return strings.Join(parts, "; ")
}

// tokenView returns a token without its secret.
func tokenView(t model.Token) map[string]any {
	data := map[string]any{request.FieldTokenID: t.ID, fieldVerified: t.Verified()}
	putAccount(data, t.Account())
	putTime(data, fieldCreatedAt, t.CreatedAt)
	putTime(data, fieldExpiresAt, t.ExpiresAt)
	return data
}

// putAccount adds the owner of a token, as far as Modal has told it.
func putAccount(data map[string]any, account model.Account) {
	putText(data, fieldWorkspace, account.Workspace)
	putText(data, fieldWorkspaceID, account.WorkspaceID)
	putText(data, fieldIdentityType, string(account.IdentityType))
	putText(data, fieldIdentity, account.Identity)
	putText(data, fieldIdentityID, account.IdentityID)
}

// putText adds a text that is not empty.
func putText(data map[string]any, key, value string) {
	if value = strings.TrimSpace(value); value != "" {
		data[key] = value
	}
}

// putCount adds a count that is not zero.
func putCount(data map[string]any, key string, count int64) {
	if count != 0 {
		data[key] = count
	}
}

func putTime(data map[string]any, key string, t time.Time) {
	if !t.IsZero() {
		data[key] = t.UTC().Format(time.RFC3339)
	}
}
