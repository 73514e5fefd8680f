// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
)

// leaseType is the type of the leases, in Vault's storage.
const leaseType = "modal_token"

// What a lease remembers: IDs and times, never a secret.
const (
	leaseEntry   = "entry"
	leaseTTL     = "ttl"
	leaseMax     = "max_ttl"
	leaseExpires = "token_expires_at"
)

func (b *backend) leaseSecret() *framework.Secret {
	return &framework.Secret{
		Type: leaseType,
		Fields: map[string]*framework.FieldSchema{
			fieldTokenID: text("ID of the Modal token (ak-…)."), fieldTokenSecret: secret("Secret of the Modal token (as-…)."),
		},
		Renew:  b.renewLease,
		Revoke: b.revokeLease,
	}
}

// newLease mints a token for a read of a dynamic role. Only the node that may write does.
func (b *backend) newLease(ctx context.Context, name string, data handoutData) (*logical.Response, error) {
	if !b.WriteSafeReplicationState() {
		return nil, logical.ErrReadOnly
	}
	lease, err := b.engine.Leases.Create(ctx, name, b.System().MaxLeaseTTL())
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
		leaseEntry: lease.RevocationID, leaseTTL: int64(lease.Role.Dynamic.TTL.Seconds()), leaseMax: int64(lease.Max.Seconds()),
		fieldTokenID: lease.Cred.ID, fieldRole: name,
	}
	putTime(remembers, leaseExpires, lease.Expires)
	resp := b.Secret(leaseType).Response(body, remembers)
	resp.Secret.TTL, resp.Secret.MaxTTL, resp.Secret.Renewable = lease.TTL, lease.Max, true
	resp.Warnings = lease.Warnings
	return resp, nil
}

// renewLease lets a lease run on, under the policy that it was made with, and never past the token's end.
func (b *backend) renewLease(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	id, _ := req.Secret.InternalData[leaseEntry].(string)
	if err := b.engine.Leases.CheckRenewable(ctx, id); err != nil {
		return answerOfLease(err)
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
		return answer(model.UserErrorf("the lease is at the end of its max_ttl, or its token of its life: read creds again for another one"))
	}
	resp := &logical.Response{Secret: req.Secret, Warnings: warnings}
	resp.Secret.TTL, resp.Secret.MaxTTL = ttl, longest
	return resp, nil
}

// remembered is a number of seconds that a lease remembers. JSON makes a float of it.
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

// revokeLease ends the lease's token. An error has Vault try again; the ledger goes on in any case.
func (b *backend) revokeLease(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	id, _ := req.Secret.InternalData[leaseEntry].(string)
	if err := b.engine.Leases.End(ctx, id); err != nil {
		return answerOfLease(err)
	}
	return nil, nil
}

// answerOfLease keeps the text in the error: Vault prints a lease's response as a Go value, and the error
// after it.
func answerOfLease(err error) (*logical.Response, error) {
	if model.IsUpstream(err) && !model.IsUserError(err) {
		return nil, logical.CodedError(http.StatusBadGateway, err.Error())
	}
	return answer(err)
}
