// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// table prints Markdown rows that can be pasted into docs/benchmarks.md.
func table(title string, head []string, rows [][]string) {
	fmt.Fprintf(os.Stdout, "\n%s\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		fmt.Fprintf(os.Stdout, "| %s |\n", strings.Join(row, " | "))
	}
}

// milliseconds formats a duration for tables.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }

// mebibytes formats a number of bytes for tables.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
