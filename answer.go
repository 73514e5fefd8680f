// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"net/http"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
)

// answer turns an error into what Vault tells the caller: 400 for a mistake or a token that Modal
// rejects, 502 for trouble at Modal, 500 for the rest. Coded errors stay bare and storage errors keep
// their text, as the plugin protocol carries nothing else.
//
// Vault shows a coded error as a list, "1 error occurred: * …". It shows the text of a response as it is, and
// gives that one status 502 only beside an error of this text.
func answer(err error) (*logical.Response, error) {
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
