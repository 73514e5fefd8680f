// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// token is a Modal account token with what Modal said of it. The identity is empty for a token that
// was stored unproven, and ServerURL is the Modal that accepted it, whose refusal alone says that it is
// revoked.
type token struct {
	ID           string                `json:"token_id"`
	Secret       string                `json:"token_secret"`
	WorkspaceID  string                `json:"workspace_id,omitempty"`
	Workspace    string                `json:"workspace,omitempty"`
	IdentityType modalapi.IdentityKind `json:"identity_type,omitempty"`
	IdentityID   string                `json:"identity_id,omitempty"`
	Identity     string                `json:"identity,omitempty"`
	CreatedAt    time.Time             `json:"created_at,omitzero"`
	ExpiresAt    time.Time             `json:"expires_at,omitzero"`
	LastVerified time.Time             `json:"last_verified,omitzero"`
	ServerURL    string                `json:"server_url,omitempty"`
}

// String keeps the secret out of anything that prints a token.
func (t token) String() string { return t.ID }

// GoString is String for the %#v verb.
func (t token) GoString() string { return t.ID }

func (t token) pair() modalapi.Token { return modalapi.Token{ID: t.ID, Secret: t.Secret} }

func (t token) verified() bool { return !t.LastVerified.IsZero() }

func (t token) expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

// owner names the identity for a reader, as in `service user "ci" (sv-1) in workspace "acme"`.
func (t token) owner() string {
	if !t.verified() {
		return "an identity that Modal was not asked about"
	}
	kind := "user"
	if t.IdentityType == modalapi.IdentityServiceUser {
		kind = "service user"
	}
	return fmt.Sprintf("%s %q (%s) in workspace %q (%s)", kind, t.Identity, t.IdentityID, t.Workspace, t.WorkspaceID)
}

// sameOwner compares only what both tokens are known by: an unproven token pins nothing.
func (t token) sameOwner(other token) bool {
	if !t.verified() || !other.verified() {
		return true
	}
	return t.WorkspaceID == other.WorkspaceID && t.IdentityType == other.IdentityType && t.IdentityID == other.IdentityID
}

// describe is all of a token that may be shown outside creds.
func (t token) describe() map[string]any {
	data := map[string]any{fieldTokenID: t.ID, fieldVerified: t.verified()}
	putText(data, fieldWorkspace, t.Workspace)
	putText(data, fieldWorkspaceID, t.WorkspaceID)
	putText(data, fieldIdentityType, string(t.IdentityType))
	putText(data, fieldIdentity, t.Identity)
	putText(data, fieldIdentityID, t.IdentityID)
	putTime(data, fieldCreatedAt, t.CreatedAt)
	putTime(data, fieldExpiresAt, t.ExpiresAt)
	return data
}

// accept turns a supplied pair into a token: proven by Modal, or as it is when the operator said
// verify=false.
func (b *backend) accept(ctx context.Context, s logical.Storage, pair modalapi.Token, verify bool) (token, error) {
	if !verify {
		return token{ID: pair.ID, Secret: pair.Secret}, nil
	}
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return token{}, err
	}
	return b.prove(ctx, cfg, pair)
}

// prove asks Modal whose token this is.
func (b *backend) prove(ctx context.Context, cfg *config, pair modalapi.Token) (token, error) {
	client, release, err := b.clients.acquire(b.clientOptions(cfg))
	if err != nil {
		return token{}, fmt.Errorf("connect to %s: %w", cfg.ServerURL, err)
	}
	defer release()
	who, err := client.WhoAmI(ctx, pair)
	if err != nil {
		return token{}, err
	}
	return token{
		ID: pair.ID, Secret: pair.Secret,
		WorkspaceID: who.WorkspaceID, Workspace: who.WorkspaceName,
		IdentityType: who.Kind, IdentityID: who.ID, Identity: who.Name,
		CreatedAt: seconds(who.CreatedAt), ExpiresAt: seconds(who.ExpiresAt),
		LastVerified: b.now(), ServerURL: cfg.ServerURL,
	}, nil
}

// warnings tell what is not known of a token.
func (t token) warnings() []string {
	if t.verified() {
		return nil
	}
	return []string{fmt.Sprintf("token %s was stored without asking Modal (verify=false): whether it works, and whose it is, is not known", t.ID)}
}

// seconds is how times are stored: UTC, whole seconds.
func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

func putText(data map[string]any, key, value string) {
	if value = strings.TrimSpace(value); value != "" {
		data[key] = value
	}
}

func putTime(data map[string]any, key string, t time.Time) {
	if !t.IsZero() {
		data[key] = t.UTC().Format(time.RFC3339)
	}
}
