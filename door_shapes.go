// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// The shapes of values. A parser says what to write in place of what it refuses, and repeats none of it.

func (in *door) text(field string) model.Change[string] {
	return take(in, field, parseText)
}

// checked is a text that is no longer than most and fits.
func checked[T any](in *door, field string, most int, check func(string) (T, string)) model.Change[T] {
	return take(in, field, func(raw any) (value T, mistake string) {
		text, mistake := parseText(raw)
		switch {
		case mistake != "":
			return value, mistake
		case len(text) > most:
			return value, fmt.Sprintf("write at most %d bytes", most)
		}
		return check(text)
	})
}

func (in *door) flag(field string) model.Change[bool] {
	return take(in, field, parseFlag)
}

// duration is a whole number of seconds within bounds.
func (in *door) duration(field string, low, high time.Duration) model.Change[time.Duration] {
	return take(in, field, func(raw any) (time.Duration, string) { return within(raw, low, high) })
}

// optional is a duration that may also be 0, for none.
func (in *door) optional(field string, low, high time.Duration) model.Change[time.Duration] {
	return take(in, field, func(raw any) (time.Duration, string) {
		if d, mistake := parseDuration(raw); mistake == "" && d == 0 {
			return 0, ""
		}
		return within(raw, low, high)
	})
}

// count is a whole number from 0 on.
func (in *door) count(field string, most int) model.Change[int] {
	return take(in, field, func(raw any) (int, string) {
		count, err := wholeNumber(raw)
		if err != nil || count < 0 || count > most {
			return 0, fmt.Sprintf("write a whole number from 0 to %d", most)
		}
		return count, ""
	})
}

func wholeNumber(raw any) (int, error) {
	text, isText := raw.(string)
	if !isText {
		text = numberText(raw)
	}
	return strconv.Atoi(strings.TrimSpace(text))
}

// grace is the grace period of one write, nil where it says nothing.
func (in *door) grace() *time.Duration {
	grace := in.duration(fieldGracePeriod, 0, model.MaxGracePeriod)
	if !grace.Set || grace.Reset {
		return nil
	}
	return &grace.Value
}

func within(raw any, low, high time.Duration) (d time.Duration, mistake string) {
	d, mistake = parseDuration(raw)
	if mistake == "" && (d < low || d > high) {
		mistake = "this is outside " + model.FormatDuration(low) + " to " + model.FormatDuration(high)
	}
	return d, mistake
}

// parseText takes numbers and flags too, as a client may have typed what was meant as text.
func parseText(raw any) (value, mistake string) {
	switch raw := raw.(type) {
	case string:
		return raw, ""
	case bool:
		return strconv.FormatBool(raw), ""
	}
	if number := numberText(raw); number != "" {
		return number, ""
	}
	return "", "write one text, and once"
}

// numberText is a number as it is written, "" for what is none.
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
	const wanted = "write true or false"
	switch raw := raw.(type) {
	case bool:
		return raw, ""
	case string:
		if value, err := strconv.ParseBool(raw); err == nil {
			return value, ""
		}
		return false, wanted
	}
	switch numberText(raw) {
	case "0":
		return false, ""
	case "1":
		return true, ""
	}
	return false, wanted
}

func parseDuration(raw any) (value time.Duration, mistake string) {
	const wanted = "write a duration that is not negative, as 300, 5m, 24h or 90d"
	text, isText := raw.(string)
	if !isText {
		text = numberText(raw)
	}
	value, ok := durationOf(strings.TrimSpace(text))
	switch {
	case !ok || value < 0:
		return 0, wanted
	case value%time.Second != 0:
		return 0, "write whole seconds"
	}
	return value, ""
}

// durationOf reads seconds, days or what Go writes. It counts in a unit only what fits a duration.
func durationOf(text string) (time.Duration, bool) {
	unit, number := time.Second, text
	if days, cut := strings.CutSuffix(text, "d"); cut {
		unit, number = model.Day, days
	}
	if count, err := strconv.ParseInt(number, 10, 64); err == nil {
		fits := count >= 0 && count <= math.MaxInt64/int64(unit)
		return time.Duration(count) * unit, fits
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}
