// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// revoke makes Modal refuse an entry's token, where the engine can, and proves that it does. Only a
// refusal is proof. The error says why there is none.
func (b *backend) revoke(ctx context.Context, s logical.Storage, entry *revocation) (verdict, error) {
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return verdictUnknown, err
	}
	if err = cfg.reachesServer(entry.token); err != nil {
		return verdictUnknown, err
	}
	if entry.Method == methodManual {
		return b.ask(ctx, s, entry)
	}
	if err = cfg.reachesWorkspace(entry.token); err != nil {
		return verdictUnknown, err
	}
	a, err := b.admin(cfg)
	if err != nil {
		return b.orRefused(ctx, cfg, entry, err)
	}
	defer a.release()
	if err = deleteServiceUser(ctx, a, entry); err != nil {
		return verdictUnknown, err
	}
	return b.ask(ctx, s, entry)
}

// orRefused is the verdict where the engine cannot delete, unless somebody else did: Modal refuses a
// token that has not expired.
func (b *backend) orRefused(ctx context.Context, cfg *config, entry *revocation, cause error) (verdict, error) {
	if entry.ID == "" || entry.expired(b.now()) {
		return verdictUnknown, cause
	}
	if got, err := b.probe(ctx, cfg, entry); err == nil && got == verdictRevoked {
		return got, nil
	}
	return verdictUnknown, cause
}

// ask changes nothing at Modal.
func (b *backend) ask(ctx context.Context, s logical.Storage, entry *revocation) (verdict, error) {
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return verdictUnknown, err
	}
	if err = cfg.reachesServer(entry.token); err != nil {
		return verdictUnknown, err
	}
	if entry.ID != "" {
		return b.probe(ctx, cfg, entry)
	}
	// The secret never arrived here, so nobody can use the token: the name's absence is the proof.
	if err = cfg.reachesWorkspace(entry.token); err != nil {
		return verdictUnknown, err
	}
	exists, err := b.serviceUserExists(ctx, cfg, entry.Identity)
	switch {
	case err != nil:
		return verdictUnknown, err
	case exists:
		return verdictAccepted, nil
	}
	return verdictRevoked, nil
}

// deleteServiceUser deletes by ID. The ID is looked up by the name, which is fresh and random, where
// the answer that told it was lost. What is gone is done.
func deleteServiceUser(ctx context.Context, a *admin, entry *revocation) error {
	id := entry.IdentityID
	if id == "" {
		user, err := a.ServiceUser(ctx, a.token, entry.Identity)
		if modalapi.KindOf(err) == modalapi.KindNotFound {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look up service user %s: %w", entry.Identity, a.explain(err))
		}
		id = user.ID
	}
	err := a.DeleteServiceUser(ctx, a.token, id)
	if err == nil || modalapi.KindOf(err) == modalapi.KindNotFound {
		return nil
	}
	return fmt.Errorf("delete service user %s (%s): %w", entry.Identity, id, a.explain(err))
}

// probe asks Modal with the dead pair.
func (b *backend) probe(ctx context.Context, cfg *config, entry *revocation) (verdict, error) {
	_, err := b.prove(ctx, cfg, entry.pair())
	switch {
	case modalapi.KindOf(err) == modalapi.KindRefused && !entry.verified():
		return verdictUnknown, refusef("Modal refuses token %s with a secret that it was never seen to accept, which proves nothing: "+
			"see that the token is gone at Modal, then forget it (delete its entry with force=true)", entry.ID)
	case modalapi.KindOf(err) == modalapi.KindRefused:
		return verdictRevoked, nil
	case err != nil:
		return verdictUnknown, err
	}
	return verdictAccepted, nil
}

// serviceUserExists looks a name up with the admin token.
func (b *backend) serviceUserExists(ctx context.Context, cfg *config, name string) (bool, error) {
	a, err := b.admin(cfg)
	if err != nil {
		return false, err
	}
	defer a.release()
	_, err = a.ServiceUser(ctx, a.token, name)
	if modalapi.KindOf(err) == modalapi.KindNotFound {
		return false, nil
	}
	return err == nil, err
}
