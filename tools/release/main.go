// SPDX-License-Identifier: MPL-2.0

// Command release makes the parts of a release that goreleaser does not make: the image and the notes. It also
// checks that the changelog describes the version.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const product = "vault-plugin-secrets-modal"

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// run executes the verb in the first argument.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	verbs := map[string]func(context.Context, options, io.Writer) error{
		"changelog": printChangelog, "image": writeImage, "notes": writeNotes, "push": push,
	}
	if len(args) == 0 || verbs[args[0]] == nil {
		return errors.New("name a command: changelog, image, notes or push")
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&o.root, "root", "../..", "`folder` of the repository")
	flags.StringVar(&o.version, "version", "", "version without its v, as in 1.2.3; by default the one in dist")
	flags.Int64Var(&o.created, "created", 0, "time of the commit in `seconds` since 1970")
	flags.StringVar(&o.image, "image", "", "`name` of the image in a registry, without a tag")
	flags.BoolVar(&o.snapshot, "snapshot", false, "use the changelog's text for the next version")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: give only flags", flags.Arg(0))
	}
	if o.version == "" {
		var err error
		if o.version, err = o.builtVersion(); err != nil {
			return err
		}
	}
	return verbs[args[0]](ctx, o, stdout)
}

// builtVersion returns the version that goreleaser built last.
func (o options) builtVersion() (string, error) {
	var built struct{ Version string }
	text, err := os.ReadFile(filepath.Join(o.dist(), "metadata.json"))
	if err != nil {
		return "", fmt.Errorf("read the built version: %w", err)
	}
	if err = json.Unmarshal(text, &built); err != nil || built.Version == "" {
		return "", fmt.Errorf("read the built version: dist/metadata.json does not contain it: %w", err)
	}
	return built.Version, nil
}

// options are the flags of all verbs.
type options struct {
	root, version, image string
	created              int64
	snapshot             bool
}
