// SPDX-License-Identifier: MPL-2.0

package request

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
)

// Fields that the decoder itself knows. Each path declares which fields it takes.
const (
	FieldRole        = "role"
	FieldID          = "id"
	FieldTokenID     = "token_id"
	FieldTokenSecret = "token_secret"
	FieldVerify      = "verify"
	FieldGracePeriod = "grace_period"
)

const (
	// MaxNameLength is how many bytes of a name from a request an answer repeats.
	MaxNameLength = 64
	// MaxIDLength is longer than the ID of any revocation.
	MaxIDLength = 512
	// maxMistakes is how many mistakes one answer names.
	maxMistakes = 12
)

// byteOrderMark is invisible. Some editors write it before a text.
const byteOrderMark = "\ufeff"

// Decoder decodes one request. Each path has a parse function that reads every field once. Err returns all mistakes of
// the request in one error. The error repeats no value, because any value may be a secret. The only exception is the short
// name of an environment role, so that the refusal of a custom role names the role.
type Decoder struct {
	// Name is the role or the ID in the URL.
	Name string
	// Body is the request's body.
	Body map[string]any

	fields   map[string]*framework.FieldSchema
	mistakes []string
}

// bodyKey is the key of the body in a context.
type bodyKey struct{}

// WithoutBody returns the request without its body, and a context that has the body. The framework would check the
// body by its own rules, and its errors repeat values.
func WithoutBody(ctx context.Context, req *logical.Request) (context.Context, *logical.Request) {
	bare := *req
	bare.Data = nil
	return context.WithValue(ctx, bodyKey{}, req.Data), &bare
}

// BodyOf returns the body that WithoutBody put into the context, or else the request's own body.
func BodyOf(ctx context.Context, req *logical.Request) map[string]any {
	if body, kept := ctx.Value(bodyKey{}).(map[string]any); kept {
		return body
	}
	return req.Data
}

// Decode returns a decoder for a request. It checks the name in the URL, refuses unknown fields, and refuses secrets in
// fields that take none.
func Decode(d *framework.FieldData, body map[string]any) *Decoder {
	in := &Decoder{fields: d.Schema, Body: body}
	for _, field := range [...]string{FieldRole, FieldID} {
		if in.fields[field] != nil {
			in.decodeName(field, TextOf(d, field))
		}
	}
	if len(body) > 0 {
		in.checkFields()
	}
	return in
}

// checkFields refuses fields that the path does not take, and secrets in fields that take none.
func (in *Decoder) checkFields() {
	var unknown []string
	for _, field := range slices.Sorted(maps.Keys(in.Body)) {
		switch {
		case in.fields[field] == nil:
			unknown = append(unknown, field)
		case HoldsSecret(in.Body[field]) && !in.mayHoldSecret(field):
			in.Refuse(field, secretInField)
		}
	}
	in.refuseUnknownFields(unknown)
}

// mayHoldSecret reports whether a field may hold a token secret. token_id may hold it if the ID is in token_secret: the
// check of the token then explains the swap.
func (in *Decoder) mayHoldSecret(field string) bool {
	if field == FieldTokenID {
		secret, _ := in.Body[FieldTokenSecret].(string)
		return strings.HasPrefix(strings.TrimSpace(secret), "ak-")
	}
	return field == FieldTokenSecret
}

// decodeName reads the role or the ID in the URL.
func (in *Decoder) decodeName(field, name string) {
	in.Name = name
	if value, given := in.Body[field]; given && value != nil && value != name {
		in.Refuse(field, "the path has it already: leave this field out")
	}
	switch {
	case HoldsSecret(name):
		in.mistakes = append(in.mistakes, SecretInPath)
	case field == FieldRole:
		if mistake := checkRoleName(name); mistake != "" {
			in.mistakes = append(in.mistakes, mistake)
		}
	case len(name) > MaxIDLength:
		in.mistakes = append(in.mistakes, "no revocation has an ID of this length")
	}
}

// Refuse adds a mistake of one field.
func (in *Decoder) Refuse(field, mistake string) {
	in.mistakes = append(in.mistakes, field+": "+mistake)
}

// RefuseRequest adds a mistake of the whole request.
func (in *Decoder) RefuseRequest(mistake string) {
	in.mistakes = append(in.mistakes, mistake)
}

// Err returns the error for all mistakes that were found, nil for none.
func (in *Decoder) Err() error {
	switch {
	case len(in.mistakes) == 0:
		return nil
	case len(in.mistakes) > maxMistakes:
		in.mistakes = append(in.mistakes[:maxMistakes], "and more")
	}
	return model.UserErrorf("%s; nothing was changed", strings.Join(in.mistakes, "; "))
}

// Field reads one field with a parser. A field that is absent or null is not set. An empty text resets the field to its
// default.
func Field[T any](in *Decoder, field string, parse func(any) (T, string)) (c model.Change[T]) {
	value := in.Body[field]
	if value == nil {
		return c
	}
	c.Set = true
	if text, isText := value.(string); isText && strings.HasPrefix(text, byteOrderMark) {
		in.Refuse(field, "this begins with a byte order mark (U+FEFF), which some editors write before a text: save the file without it")
		return c
	}
	if value == "" {
		c.Reset = true
		return c
	}
	var mistake string
	c.Value, mistake = parse(value)
	if mistake != "" && (in.mayHoldSecret(field) || !HoldsSecret(value)) { // checkFields has refused the rest
		in.Refuse(field, mistake)
	}
	return c
}

// Given returns the fields, among these, that the request has.
func (in *Decoder) Given(fields ...string) (given []string) {
	for _, field := range fields {
		if in.Body[field] != nil {
			given = append(given, field)
		}
	}
	return given
}

// TextOf returns a field of the URL. Such a field is always a string.
func TextOf(d *framework.FieldData, field string) string {
	value, _ := d.Raw[field].(string)
	return value
}
