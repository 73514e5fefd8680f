// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"net/http"

	"vault-plugin-secrets-modal/internal/engine"

	"github.com/hashicorp/vault/sdk/logical"
)

// respond turns an error into what Vault tells the caller: 400 for a mistake or a token that Modal rejects, 502
// for trouble at Modal, 500 for the rest. Vault shows the text of an error response as it is. It puts "1 error
// occurred" before any other error.
func respond(err error) (*logical.Response, error) {
	if engine.IsModals(err) && !engine.IsMistake(err) && !engine.IsAway(err) {
		return logical.ErrorResponse("%s", err), logical.ErrUpstreamRateLimited // which Vault answers with 502
	}
	return answer(err)
}

// answer is respond for leases, whose errors Vault puts into its log. Coded errors stay bare and storage errors
// keep their text, because the plugin protocol carries nothing else.
func answer(err error) (*logical.Response, error) {
	switch {
	case engine.IsMistake(err):
		return logical.ErrorResponse("%s", err), logical.ErrInvalidRequest
	case engine.IsNotFound(err):
		return nil, logical.CodedError(http.StatusNotFound, err.Error())
	case engine.IsAway(err):
		return nil, logical.CodedError(http.StatusServiceUnavailable, err.Error())
	case engine.IsModals(err):
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	}
	return nil, err
}
