// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Read is a read of creds/<role> as Vault's audit device recorded it.
type Read struct {
	Asked, Answered time.Time
	// Hint is the ttl of the answer. It is zero if there was no such answer.
	Hint time.Duration
}

// Reads returns a consumer's reads, in order. Audit devices hash texts but show numbers as they are.
func (v *Vault) Reads(c *Consumer) ([]Read, error) {
	audit, err := os.ReadFile(v.Audit)
	if err != nil {
		return nil, fmt.Errorf("reading Vault's audit file: %w", err)
	}
	var reads []Read
	for line := range bytes.Lines(audit) {
		var entry auditEntry
		if json.Unmarshal(line, &entry) != nil {
			continue // the line that Vault is writing now
		}
		if entry.Auth.DisplayName != "token-"+c.Name || entry.Request.Path != c.path {
			continue // for example an Agent's question about the mount
		}
		if entry.Type == "request" {
			reads = append(reads, Read{Asked: entry.Time})
			continue
		}
		last := &reads[len(reads)-1] // a consumer sends one request at a time
		last.Answered = entry.Time
		if ttl, numberErr := entry.Response.Data.TTL.Int64(); numberErr == nil {
			last.Hint = time.Duration(ttl) * time.Second
		}
	}
	return reads, nil
}

// auditEntry holds the parts of an audit line that the tests need.
type auditEntry struct {
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	Auth struct {
		DisplayName string `json:"display_name"`
	} `json:"auth"`
	Request struct {
		Path string `json:"path"`
	} `json:"request"`
	Response struct {
		Data struct {
			TTL json.Number `json:"ttl"`
		} `json:"data"`
	} `json:"response"`
}
