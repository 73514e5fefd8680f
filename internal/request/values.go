// SPDX-License-Identifier: MPL-2.0

package request

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"

	"vault-plugin-secrets-modal/internal/duration"
	"vault-plugin-secrets-modal/internal/model"
)

// Durations are read by parseutil, as in Vault itself. parseutil gets texts only: it takes an empty text as 0 and cuts a
// fraction off a number. Flags, lists and counts are read here, because parseutil accepts too much: 2 is true, true in a
// list is the text "1", and an empty text is 0.

// ParseList returns the items of a list, or of one text with commas between items. It keeps empty items, because an empty
// item may be an unset variable.
func ParseList(raw any) (items []string, isList bool) {
	switch raw := raw.(type) {
	case string:
		items = strings.Split(raw, ",")
	case []string:
		items = slices.Clone(raw)
	case []any:
		for _, item := range raw {
			text, isText := item.(string)
			if !isText {
				return nil, false
			}
			items = append(items, text)
		}
	default:
		return nil, false
	}
	for i, item := range items {
		items[i] = strings.TrimSpace(item)
	}
	return items, true
}

// Text reads a text.
func (in *Decoder) Text(field string) model.Change[string] {
	return Field(in, field, ParseText)
}

// CheckedText reads a text of at most so many bytes, and checks it.
func CheckedText[T any](in *Decoder, field string, most int, check func(string) (T, string)) model.Change[T] {
	return Field(in, field, func(raw any) (value T, mistake string) {
		text, mistake := ParseText(raw)
		switch {
		case mistake != "":
			return value, mistake
		case len(text) > most:
			return value, fmt.Sprintf("write at most %d bytes", most)
		}
		return check(text)
	})
}

// Flag reads true or false.
func (in *Decoder) Flag(field string) model.Change[bool] {
	return Field(in, field, parseFlag)
}

// Duration reads a duration in whole seconds, within bounds.
func (in *Decoder) Duration(field string, low, high time.Duration) model.Change[time.Duration] {
	return Field(in, field, func(raw any) (time.Duration, string) { return ParseDurationBetween(raw, low, high) })
}

// OptionalDuration reads a duration within bounds, or 0 for none.
func (in *Decoder) OptionalDuration(field string, low, high time.Duration) model.Change[time.Duration] {
	return Field(in, field, func(raw any) (time.Duration, string) {
		if d, mistake := ParseDuration(raw); mistake == "" && d == 0 {
			return 0, ""
		}
		return ParseDurationBetween(raw, low, high)
	})
}

// Count reads a whole number from 0 to most.
func (in *Decoder) Count(field string, most int) model.Change[int] {
	return Field(in, field, func(raw any) (int, string) {
		count, err := ParseInteger(raw)
		if err != nil || count < 0 || count > most {
			return 0, fmt.Sprintf("write a whole number from 0 to %d", most)
		}
		return count, ""
	})
}

// ParseInteger reads a whole number.
func ParseInteger(raw any) (int, error) {
	text, isText := raw.(string)
	if !isText {
		text = numberText(raw)
	}
	return strconv.Atoi(strings.TrimSpace(text))
}

// GracePeriod reads grace_period. It returns nil if the request has none, or an empty one.
func (in *Decoder) GracePeriod() *time.Duration {
	grace := in.Duration(FieldGracePeriod, 0, model.MaxGracePeriod)
	if !grace.Set || grace.Reset {
		return nil
	}
	return &grace.Value
}

// ParseDurationBetween reads a duration within bounds.
func ParseDurationBetween(raw any, low, high time.Duration) (d time.Duration, mistake string) {
	d, mistake = ParseDuration(raw)
	if mistake == "" && (d < low || d > high) {
		mistake = "this is outside " + duration.Format(low) + " to " + duration.Format(high)
	}
	return d, mistake
}

// ParseText reads a text. It accepts numbers and booleans too, because clients convert texts that look like them.
func ParseText(raw any) (value, mistake string) {
	switch raw := raw.(type) {
	case string:
		return raw, ""
	case bool:
		return strconv.FormatBool(raw), ""
	}
	if number := numberText(raw); number != "" {
		return number, ""
	}
	return "", "write one text"
}

// numberText returns the digits of a number, "" for other values.
func numberText(raw any) string {
	switch raw := raw.(type) {
	case json.Number:
		return raw.String()
	case float64:
		return strconv.FormatFloat(raw, 'f', -1, 64)
	case int:
		return strconv.Itoa(raw)
	case int64:
		return strconv.FormatInt(raw, 10)
	}
	return ""
}

func parseFlag(raw any) (value bool, mistake string) {
	text, _ := ParseText(raw)
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, "write true or false"
	}
	return value, ""
}

// ParseDuration reads a duration in whole seconds: seconds (300), days (90d) or a duration of Go (1h30m).
func ParseDuration(raw any) (value time.Duration, mistake string) {
	text, isText := raw.(string)
	if !isText {
		text = numberText(raw)
	}
	text = strings.TrimSpace(text)
	value, err := parseutil.ParseDurationSecond(text)
	switch {
	case text == "" || err != nil || value < 0:
		return 0, "write a duration that is not negative, as 300, 5m, 24h or 90d"
	case value%time.Second != 0:
		return 0, "write whole seconds"
	}
	return value, ""
}
