// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/request"
	"vault-plugin-secrets-modal/internal/revocation"
)

// maxOrphanNames is how many names one request may have.
const maxOrphanNames = 1000

func (b *Backend) pathOrphans() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "orphans/?$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "orphans"},
		Fields: with(pageFields(), map[string]*framework.FieldSchema{
			fieldNames: {
				Type:         framework.TypeCommaStringSlice,
				Description:  "Names of some orphans (default: all orphans that no operator has accepted).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Names"},
			},
			fieldDryRun: {
				Type: framework.TypeBool, Default: true,
				Description:  "Only report which service users are orphans, and change nothing in Vault or at Modal (default true; false with accept).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Dry run", Value: true},
			},
			fieldAccept: {
				Type:         framework.TypeBool,
				Description:  "Keep the orphans at Modal, and let the engine delete due tokens again. If the engine cannot list service users, the response says that nothing was compared.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Accept"},
			},
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation:   forwarded(parsePage, paged(b.listOrphans), "List the service users of this mount that Vault does not track.", listFields("Names of the service users.")),
			logical.UpdateOperation: forwarded(parseCleanup, b.cleanUpOrphans, "Delete orphans, or keep them.", cleanupFields()),
		},
		HelpSynopsis:    "List, delete or keep the service users of this mount at Modal that Vault does not track.",
		HelpDescription: strings.TrimSpace(orphansHelp),
	}}
}

func parseCleanup(in *request.Decoder) revocation.CleanupRequest {
	for _, field := range [...]string{fieldAfter, fieldLimit} {
		if in.Body[field] != nil {
			in.Refuse(field, "only a list takes this: choose orphans with names")
		}
	}
	ask := revocation.CleanupRequest{
		Names:  request.Field(in, fieldNames, parseNames).Apply(nil, nil),
		Accept: in.Flag(fieldAccept).Apply(false, false),
	}
	dry := in.Flag(fieldDryRun)
	ask.DryRun = dry.Apply(true, true) && (dry.Set && !dry.Reset || !ask.Accept)
	return ask
}

// parseNames reads a list of names, or one text with commas between names.
func parseNames(raw any) (names []string, mistake string) {
	names, isList := request.ParseList(raw)
	switch {
	case !isList:
		return nil, "write names with commas between them, or a list of names"
	case len(names) == 0: // some list that came out empty is not all
		return nil, "this list is empty: leave the field out for all orphans that no operator has accepted"
	case len(names) > maxOrphanNames:
		return nil, "write fewer names in one request"
	}
	return names, ""
}

func cleanupFields() responses {
	return responses{
		fieldDryRun:    required(flag("Whether nothing was done.")),
		fieldNames:     {Type: framework.TypeStringSlice, Description: "The orphans of this request; absent for none."},
		fieldEnded:     required(number("How many orphans are deleted.")),
		fieldLeft:      required(number("How many orphans are in the revocation queue, to be deleted later.")),
		fieldOutOfSync: required(flag("Whether the engine still deletes nothing by itself.")),
		fieldNextStep:  required(text("The next step.")),
	}
}

func (b *Backend) listOrphans(ctx context.Context, _ page) (*logical.Response, error) {
	orphans, err := b.engine.Orphans.List(ctx)
	if err != nil {
		return nil, err
	}
	names, info := make([]string, 0, len(orphans)), make(map[string]any, len(orphans))
	for _, orphan := range orphans {
		names = append(names, orphan.Name)
		about := map[string]any{fieldAccepted: orphan.Accepted, fieldAge: int64(orphan.Age.Seconds())}
		putText(about, request.FieldTokenID, orphan.TokenID)
		putTime(about, fieldCreatedAt, orphan.CreatedAt)
		putTime(about, fieldExpiresAt, orphan.ExpiresAt)
		putTime(about, fieldLastUsedAt, orphan.LastUsedAt)
		info[orphan.Name] = about
	}
	return logical.ListResponseWithInfo(names, info), nil
}

func (b *Backend) cleanUpOrphans(ctx context.Context, _ *logical.Request, ask revocation.CleanupRequest) (*logical.Response, error) {
	done, err := b.engine.Orphans.Cleanup(ctx, ask)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		fieldDryRun: ask.DryRun, fieldEnded: int64(len(done.Ended)), fieldLeft: int64(len(done.Left)), fieldOutOfSync: done.OutOfSync,
		fieldNextStep: b.cleanupNextStep(ctx, ask, done),
	}
	if done.Chosen != nil {
		data[fieldNames] = done.Chosen
	}
	resp := &logical.Response{Data: data}
	if done.NotCompared != "" {
		resp.AddWarning("nothing was compared, because the engine cannot list the service users at Modal: " + done.NotCompared)
	}
	return resp, nil
}

func (b *Backend) cleanupNextStep(ctx context.Context, ask revocation.CleanupRequest, done *revocation.CleanupResult) string {
	m := b.engine.Mount
	run := m.Commands()
	switch {
	case done.NotCompared != "":
		return m.NotePaused(ctx, "nothing to do: the engine deletes due tokens again; it compares once it can list the service users")
	case len(done.Chosen) == 0 && !done.OutOfSync:
		return "nothing to do: there are no orphans"
	case ask.DryRun:
		return "delete them with: " + run.DeleteOrphans() + "; or keep them with: " + run.AcceptOrphans()
	case len(done.Left) > 0:
		return m.NotePaused(ctx, "nothing to do: the engine deletes the other orphans later; see them with: "+run.ListRevocations())
	case done.OutOfSync:
		return "look at the other orphans: " + run.ListOrphans()
	}
	return m.NotePaused(ctx, "nothing to do: the engine deletes due tokens again")
}

const orphansHelp = `
An orphan is a service user with this mount's prefix that no role, lease or revocation here refers to. A copy of
the mount, or a restored snapshot, has orphans: the service users that another mount has created since. While there
are orphans older than ten minutes, the mount is out of sync. The engine then deletes nothing by itself, not even the
tokens of leases, because another mount may return them to consumers.

A write reports which service users are orphans (dry_run=true is the default). dry_run=false deletes them at Modal.
accept=true keeps them, and the engine then deletes due tokens again. names selects some orphans, also orphans that
were accepted before.

Example, for the mount modal/:

  vault list -detailed modal/orphans
  vault write modal/orphans dry_run=false
`
