// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
)

// leaseType is the type of the leases in Vault's storage.
const leaseType = "modal_token"

// Keys of the data that Vault stores with a lease: IDs and times, no secret.
const (
	leaseRevocationID = "entry"
	leaseTTL          = "ttl"
	leaseMax          = "max_ttl"
	leaseExpires      = "token_expires_at"
)

func (b *Backend) leaseSecret() *framework.Secret {
	return &framework.Secret{
		Type: leaseType,
		Fields: map[string]*framework.FieldSchema{
			request.FieldTokenID: text("ID of the Modal token (ak-…)."), request.FieldTokenSecret: secret("Secret of the Modal token (as-…)."),
		},
		Renew:  b.renewLease,
		Revoke: b.revokeLease,
	}
}

// newLease creates a token for a read of a dynamic role. Only the node that may write to storage does so.
func (b *Backend) newLease(ctx context.Context, req *logical.Request, name string, data credentialsFormat) (*logical.Response, error) {
	if !b.WriteSafeReplicationState() {
		return nil, logical.ErrReadOnly
	}
	lease, err := b.engine.Leases.Create(ctx, engine.LeaseRequest{Role: name, DisplayName: req.DisplayName, VaultMax: b.System().MaxLeaseTTL()})
	if err != nil {
		return nil, err
	}
	body, err := data(&lease.Credentials, b.engine.Mount.Now())
	if err != nil {
		return nil, err
	}
	for _, field := range []string{fieldTTL, fieldRotationPeriod, fieldLastVaultRotation} {
		delete(body, field) // the lease takes their place
	}
	remembers := map[string]any{
		leaseRevocationID: lease.RevocationID, leaseTTL: int64(lease.Role.Dynamic.TTL.Seconds()), leaseMax: int64(lease.Max.Seconds()),
		request.FieldTokenID: lease.Cred.ID, request.FieldRole: name,
	}
	putTime(remembers, leaseExpires, lease.Expires)
	resp := b.Secret(leaseType).Response(body, remembers)
	resp.Secret.TTL, resp.Secret.MaxTTL, resp.Secret.Renewable = lease.TTL, lease.Max, true
	resp.Warnings = lease.Warnings
	return resp, nil
}

// renewLease renews a lease under the ttl and max_ttl with which it began, and not past the token's expiry.
func (b *Backend) renewLease(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	id, _ := req.Secret.InternalData[leaseRevocationID].(string)
	if err := b.engine.Leases.CheckRenewable(ctx, id); err != nil {
		return leaseResponse(err)
	}
	backendTTL, longest := remembered(req.Secret, leaseTTL), remembered(req.Secret, leaseMax)
	ttl, warnings, err := framework.CalculateTTL(b.System(), req.Secret.Increment, backendTTL, 0, longest, 0, req.Secret.IssueTime)
	if err != nil {
		return nil, err
	}
	if text, _ := req.Secret.InternalData[leaseExpires].(string); text != "" {
		if expires, err := time.Parse(time.RFC3339, text); err == nil {
			ttl = min(ttl, expires.Sub(b.engine.Mount.Now()))
		}
	}
	if ttl <= 0 {
		return errorResponse(model.UserErrorf("the lease has reached its max_ttl, or its token expires: read creds again for another token"))
	}
	resp := &logical.Response{Secret: req.Secret, Warnings: warnings}
	resp.Secret.TTL, resp.Secret.MaxTTL = ttl, longest
	return resp, nil
}

// remembered returns a duration from the data of a lease. JSON has turned its seconds into a float.
func remembered(s *logical.Secret, field string) time.Duration {
	switch seconds := s.InternalData[field].(type) {
	case float64:
		return time.Duration(seconds) * time.Second
	case int64:
		return time.Duration(seconds) * time.Second
	case json.Number:
		count, _ := seconds.Int64()
		return time.Duration(count) * time.Second
	}
	return 0
}

// revokeLease revokes the token of a lease. After an error Vault tries again, and the revocation queue tries in any
// case. Only the node that may write to storage revokes.
func (b *Backend) revokeLease(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	if !b.WriteSafeReplicationState() {
		return nil, logical.ErrReadOnly
	}
	id, _ := req.Secret.InternalData[leaseRevocationID].(string)
	if err := b.engine.Leases.End(ctx, id); err != nil {
		return leaseResponse(err)
	}
	return nil, nil
}

// leaseResponse returns the text of an error in the error itself. For leases Vault prints the response as a Go value,
// and then the error.
func leaseResponse(err error) (*logical.Response, error) {
	if model.IsUpstream(err) && !model.IsUserError(err) {
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	}
	return errorResponse(err)
}
