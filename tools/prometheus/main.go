// SPDX-License-Identifier: MPL-2.0

// Command prometheus reads rule files and metric files (.prom) with Prometheus' own parsers, and fails where
// Prometheus would fail. It replaces promtool, which depends on the client libraries of every cloud.
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	for _, file := range os.Args[1:] {
		check := rules
		if filepath.Ext(file) == ".prom" {
			check = metrics
		}
		if err := check(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func rules(file string) error {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, group := range groups.Groups {
		fmt.Printf("%s: %d rules\n", group.Name, len(group.Rules))
	}
	return nil
}

func metrics(file string) error {
	text, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = text.Close() }() // the file was opened only for reading
	reader := expfmt.NewTextParser(model.UTF8Validation)
	families, err := reader.TextToMetricFamilies(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Printf("%s: %d metrics\n", file, len(families))
	return nil
}
