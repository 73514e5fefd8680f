// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/engine"
)

// maxOrphanNames is how many names one request may bring.
const maxOrphanNames = 1000

func (b *backend) pathOrphans() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "orphans/?$",
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "orphans"},
		Fields: with(pageFields(), map[string]*framework.FieldSchema{
			fieldNames: {
				Type:         framework.TypeCommaStringSlice,
				Description:  "Names of some orphans (default: all that nobody has accepted).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Names"},
			},
			fieldDryRun: {
				Type: framework.TypeBool, Default: true,
				Description:  "Tell which they are, and change nothing here or at Modal (default true).",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Dry run", Value: true},
			},
			fieldAccept: {
				Type:         framework.TypeBool,
				Description:  "Leave them at Modal, and let the mount go on.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Accept"},
			},
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation:   forwarded(parsePage, paged(b.listOrphans), "List the service users of this mount that nothing here answers for.", listFields("Names of the service users.")),
			logical.UpdateOperation: forwarded(parseTidy, b.tidyOrphans, "End orphans, or leave them.", tidiedFields()),
		},
		HelpSynopsis:    "List, end or leave the service users of this mount at Modal that nothing here answers for.",
		HelpDescription: strings.TrimSpace(orphansHelp),
	}}
}

func parseTidy(in *door) engine.TidyRequest {
	for _, field := range [...]string{fieldAfter, fieldLimit} {
		if _, given := in.body[field]; given {
			in.refuse(field, "a list takes this, and no write: pick some with names")
		}
	}
	ask := engine.TidyRequest{
		Names:  take(in, fieldNames, parseNames).Over(nil, nil),
		Accept: in.flag(fieldAccept).Over(false, false),
	}
	dry := in.flag(fieldDryRun)
	ask.DryRun = dry.Over(true, true) && (dry.Asked && !dry.Reset || !ask.Accept)
	return ask
}

// parseNames takes a list, or names with commas between.
func parseNames(raw any) (names []string, mistake string) {
	names, isList := listOf(raw)
	switch {
	case !isList:
		return nil, "write names with commas between them, or a list of names"
	case len(names) == 0: // some list that came out empty is not all
		return nil, "this names none: leave it out for all that nobody has accepted"
	case len(names) > maxOrphanNames:
		return nil, "write fewer names at a time"
	}
	return names, ""
}

func tidiedFields() responses {
	return responses{
		fieldDryRun:    required(flag("Whether nothing was done.")),
		fieldNames:     {Type: framework.TypeStringSlice, Description: "The orphans that the request was about; absent for none."},
		fieldEnded:     required(number("How many Modal refuses, or has no longer.")),
		fieldLeft:      required(number("How many are in the ledger, to be ended.")),
		fieldOutOfSync: required(flag("Whether the mount still ends nothing by itself.")),
		fieldNextStep:  required(text("What comes next.")),
	}
}

func (b *backend) listOrphans(ctx context.Context) (*logical.Response, error) {
	orphans, err := b.engine.Orphans(ctx)
	if err != nil {
		return nil, err
	}
	names, info := make([]string, 0, len(orphans)), make(map[string]any, len(orphans))
	for _, orphan := range orphans {
		names = append(names, orphan.Name)
		about := map[string]any{fieldAccepted: orphan.Accepted}
		putText(about, fieldTokenID, orphan.TokenID)
		putTime(about, fieldCreatedAt, orphan.CreatedAt)
		putTime(about, fieldExpiresAt, orphan.ExpiresAt)
		putTime(about, fieldLastUsedAt, orphan.LastUsedAt)
		info[orphan.Name] = about
	}
	return logical.ListResponseWithInfo(names, info), nil
}

func (b *backend) tidyOrphans(ctx context.Context, req *logical.Request, ask engine.TidyRequest) (*logical.Response, error) {
	done, err := b.engine.Tidy(ctx, ask)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		fieldDryRun: ask.DryRun, fieldEnded: int64(len(done.Ended)), fieldLeft: int64(len(done.Left)), fieldOutOfSync: done.OutOfSync,
		fieldNextStep: afterTidy(req.MountPoint, ask, done),
	}
	if done.Chosen != nil {
		data[fieldNames] = done.Chosen
	}
	return &logical.Response{Data: data}, nil
}

func afterTidy(mount string, ask engine.TidyRequest, done *engine.Tidied) string {
	switch {
	case len(done.Chosen) == 0 && !done.OutOfSync:
		return "nothing: there are no orphans"
	case ask.DryRun:
		return "end them with: vault write " + mount + "orphans dry_run=false; or leave them with: vault write " + mount + "orphans accept=true"
	case len(done.Left) > 0:
		return "the engine goes on ending those that are left: vault list -detailed " + mount + "revocations"
	case done.OutOfSync:
		return "others are left: vault list -detailed " + mount + "orphans"
	}
	return "nothing: the mount goes on"
}

const orphansHelp = `
An orphan is a service user with this mount's prefix that no role, lease or entry of the ledger here answers
for. A copy of the mount, or one from a restored snapshot, has them: what another mount made since. While
there are any that are older than ten minutes, the mount is out of sync and ends nothing by itself, leases
included, as it may take for old what another one hands out.

A write tells which they are (dry_run=true is the default). dry_run=false ends them at Modal; accept=true leaves
them, and the mount goes on. names picks some: so are those ended that were accepted before.
`
