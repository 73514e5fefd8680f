// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
)

const (
	// maxToldName is how much of a name that somebody sent is repeated.
	maxToldName = 64
	// maxTold is how many mistakes of one request are told.
	maxTold = 12
	// maxIDLength is longer than any ID of an entry.
	maxIDLength = 512
)

// byteOrderMark is invisible, and no part of any value.
const byteOrderMark = "\ufeff"

// door is where a request comes in. A path's parse function takes each field once, and what is wrong
// with any of them is told in one answer. Values are not repeated, as any may be a secret.
type door struct {
	name   string // the role or ID that the URL names
	fields map[string]*framework.FieldSchema
	body   map[string]any
	wrong  []string
}

// bodyKey keeps a request's body from the framework, which would check it by rules of its own.
type bodyKey struct{}

// behindTheDoor is the request as the framework gets it: with a path, and without a body.
func behindTheDoor(ctx context.Context, req *logical.Request) (context.Context, *logical.Request) {
	bare := *req
	bare.Data = nil
	return context.WithValue(ctx, bodyKey{}, req.Data), &bare
}

// enter makes a handler of typed requests one of the framework's.
func enter[T any](parse func(*door) T, handle handler[T]) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		body, kept := ctx.Value(bodyKey{}).(map[string]any)
		if !kept {
			body = req.Data
		}
		in := openDoor(d, body)
		ask := parse(in)
		if err := in.refusal(); err != nil {
			return answer(err)
		}
		resp, err := handle(ctx, req, ask)
		if err != nil {
			return answer(err)
		}
		return resp, nil
	}
}

func openDoor(d *framework.FieldData, body map[string]any) *door {
	in := &door{fields: d.Schema, body: body}
	for _, field := range [...]string{fieldRole, fieldID} {
		if in.fields[field] != nil {
			in.named(field, textOf(d, field))
		}
	}
	if len(body) > 0 {
		in.look()
	}
	return in
}

// look refuses fields that the path does not have, and secrets where they do not belong.
func (in *door) look() {
	var unknown []string
	for _, field := range slices.Sorted(maps.Keys(in.body)) {
		switch {
		case in.fields[field] == nil:
			unknown = append(unknown, field)
		case holdsSecret(in.body[field]) && !in.secretBelongs(field):
			in.refuse(field, secretInField)
		}
	}
	in.refuseUnknown(unknown)
}

// secretBelongs reports whether a secret may be in this field: in token_secret, and in token_id where the two
// halves are swapped, which the check of the token tells better.
func (in *door) secretBelongs(field string) bool {
	if field == fieldTokenID {
		secret, _ := in.body[fieldTokenSecret].(string)
		return strings.HasPrefix(strings.TrimSpace(secret), "ak-")
	}
	return field == fieldTokenSecret
}

// named takes what the URL names.
func (in *door) named(field, name string) {
	in.name = name
	if said, given := in.body[field]; given && said != nil && said != name {
		in.refuse(field, "the path says it: leave the field out")
	}
	switch {
	case holdsSecret(name):
		in.wrong = append(in.wrong, secretInPath)
	case field == fieldRole:
		if mistake := roleNameMistake(name); mistake != "" {
			in.wrong = append(in.wrong, mistake)
		}
	case len(name) > maxIDLength:
		in.wrong = append(in.wrong, "no entry has so long an ID")
	}
}

func (in *door) refuse(field, mistake string) {
	in.wrong = append(in.wrong, field+": "+mistake)
}

func (in *door) refusal() error {
	switch {
	case len(in.wrong) == 0:
		return nil
	case len(in.wrong) > maxTold:
		in.wrong = append(in.wrong[:maxTold], "and more")
	}
	return model.UserErrorf("%s; nothing was changed", strings.Join(in.wrong, "; "))
}

// take reads a field by the one rule of all writes.
func take[T any](in *door, field string, parse func(any) (T, string)) (c model.Change[T]) {
	said := in.body[field]
	if said == nil {
		return c
	}
	c.Set = true
	if text, isText := said.(string); isText && strings.HasPrefix(text, byteOrderMark) {
		in.refuse(field, "this begins with a byte order mark (U+FEFF), which some editors put before a text: save the file without it")
		return c
	}
	if said == "" {
		c.Reset = true
		return c
	}
	var mistake string
	c.Value, mistake = parse(said)
	if mistake != "" && (in.secretBelongs(field) || !holdsSecret(said)) { // else it was told already
		in.refuse(field, mistake)
	}
	return c
}

// given are those of some fields that a request has.
func (in *door) given(fields ...string) (given []string) {
	for _, field := range fields {
		if in.body[field] != nil {
			given = append(given, field)
		}
	}
	return given
}

// nothing is the request of a path that takes no field.
func nothing(*door) struct{} { return struct{}{} }

// urlName is a request of which only the role or ID in its path counts.
func urlName(in *door) string { return in.name }
