// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// table prints rows of Markdown, so that a run can be pasted into docs/benchmarks.md.
func table(title string, head []string, rows [][]string) {
	fmt.Fprintf(os.Stdout, "\n%s\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		fmt.Fprintf(os.Stdout, "| %s |\n", strings.Join(row, " | "))
	}
}

// milliseconds is a duration as tables show it.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1e3) }

// mebibytes is a number of bytes as tables show it.
func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
