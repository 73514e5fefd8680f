// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"maps"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// page is the part of a list that was asked for, as OpenBao's "list -after -limit" does.
type page struct {
	after string
	limit int // 0 for no limit
}

func pageFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAfter: {
			Type: framework.TypeString, Query: true,
			Description: "List in the order of names, and only the names after this one, which need not exist.",
		},
		fieldLimit: {
			Type: framework.TypeInt, Query: true,
			Description: "List in the order of names, and no more than so many (default: all; 0 and less: all).",
		},
	}
}

func parsePage(in *door) page {
	return page{after: in.text(fieldAfter).Apply("", ""), limit: take(in, fieldLimit, parseLimit).Apply(0, 0)}
}

func parseLimit(raw any) (limit int, mistake string) {
	limit, err := wholeNumber(raw)
	if err != nil {
		return 0, "write a whole number"
	}
	return max(limit, 0), ""
}

// paged cuts the page out of a whole list. The order of names alone is the same at each of the requests that
// walk from page to page.
func paged(list func(context.Context) (*logical.Response, error)) handler[page] {
	return func(ctx context.Context, _ *logical.Request, ask page) (*logical.Response, error) {
		resp, err := list(ctx)
		if err != nil || ask == (page{}) {
			return resp, err
		}
		all, _ := resp.Data["keys"].([]string)
		keys := slices.DeleteFunc(slices.Sorted(slices.Values(all)), func(key string) bool { return key <= ask.after })
		if ask.limit > 0 {
			keys = keys[:min(ask.limit, len(keys))]
		}
		info, _ := resp.Data["key_info"].(map[string]any)
		maps.DeleteFunc(info, func(key string, _ any) bool {
			_, listed := slices.BinarySearch(keys, key)
			return !listed
		})
		part := logical.ListResponseWithInfo(keys, info)
		part.Warnings = resp.Warnings
		return part, nil
	}
}
