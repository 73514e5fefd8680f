// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// UnreadableError says why a stored entry cannot be used: another version of the plugin wrote it, or it is
// damaged. A failure of the storage itself is a different error.
type UnreadableError struct{ key, why string }

func (u *UnreadableError) Error() string { return u.key + " " + u.why }

// IsUnreadable reports whether an error is an [UnreadableError].
func IsUnreadable(err error) bool {
	unreadable := (*UnreadableError)(nil)
	return errors.As(err, &unreadable)
}

const runNewer = "nothing was changed; run the newer version again"

// load reads an entry. It refuses an entry that this build does not understand completely, because an ignored
// field could be the field that keeps a token alive.
func (t *Table[T]) load(ctx context.Context, key string) (*T, error) {
	raw, err := t.storage.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read %s from storage: %w", key, err)
	}
	if raw == nil {
		return nil, nil //nolint:nilnil // absent is (nil, nil), as everywhere in Vault
	}
	entry, why := decode[T](raw, t.options.Retired)
	if why != "" {
		return nil, &UnreadableError{key, why}
	}
	return entry, nil
}

// decode returns the entry. If the entry is unreadable, it returns the reason instead.
func decode[T any](raw *logical.StorageEntry, retired []string) (entry *T, why string) {
	var stored record[json.RawMessage]
	if err := raw.DecodeJSON(&stored); err != nil {
		return nil, damaged(err)
	}
	switch {
	case stored.Schema > schemaVersion:
		return nil, fmt.Sprintf("was written by a newer version of this plugin (schema %d, this build knows %d): %s", stored.Schema, schemaVersion, runNewer)
	case stored.Schema < schemaVersion:
		return nil, fmt.Sprintf("was written by a build that was never released (schema %d, this build knows %d): nothing was changed; "+
			"mount the engine at a new path", stored.Schema, schemaVersion)
	}
	return decodeEntry[T](stored.Entry, retired)
}

func damaged(err error) string { return "is damaged: " + err.Error() }

// decodeEntry decodes an entry strictly. It refuses a field that T does not have, at every level, and an
// entry that lacks a required field. Keys of maps are data and may have any name.
func decodeEntry[T any](raw json.RawMessage, retired []string) (entry *T, why string) {
	raw, err := prune(raw, retired)
	if err != nil {
		return nil, damaged(err)
	}
	var fields map[string]json.RawMessage
	if err = decodeStrictly(raw, &fields); err != nil {
		return nil, damaged(err)
	}
	if missing := missingField[T](fields); missing != "" {
		return nil, "is damaged: it has no " + missing
	}
	entry = new(T)
	if err = decodeStrictly(raw, entry); err == nil {
		return entry, ""
	}
	if unknown, isUnknown := strings.CutPrefix(err.Error(), "json: unknown field "); isUnknown {
		return nil, fmt.Sprintf("was written by a newer version of this plugin (this build does not know its field %s): %s", unknown, runNewer)
	}
	return nil, damaged(err)
}

// prune removes the retired fields from an entry.
func prune(raw json.RawMessage, retired []string) (json.RawMessage, error) {
	if len(retired) == 0 {
		return raw, nil
	}
	var entry any
	if err := decodeStrictly(raw, &entry); err != nil {
		return nil, err
	}
	for _, path := range retired {
		remove(entry, strings.Split(path, "."))
	}
	return json.Marshal(entry)
}

// remove deletes the field at path from a decoded JSON value. If the path goes through a list, it deletes the
// field in each element.
func remove(value any, path []string) {
	switch value := value.(type) {
	case map[string]any:
		if len(path) == 1 {
			delete(value, path[0])
			return
		}
		remove(value[path[0]], path[1:])
	case []any:
		for _, item := range value {
			remove(item, path)
		}
	}
}

// decodeStrictly works like json.Unmarshal, but refuses unknown fields and keeps every digit of a number.
func decodeStrictly(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// missingField names a required field that the entry does not have. A field of T is required if it is written
// even when it is zero.
func missingField[T any](fields map[string]json.RawMessage) string {
	if fields == nil {
		return "content"
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || strings.HasPrefix(options, "omit") {
			continue
		}
		if _, there := fields[name]; !there {
			return fmt.Sprintf("field %q", name)
		}
	}
	return ""
}
