// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// passing matches texts that differ between runs: IDs, names, times, ports and the beginnings of secrets.
var passing = regexp.MustCompile(`\b(ak|sv|us|ac|as)-\w+|-ci-\w{8}\b|vault-[0-9a-f]{8}|\d{4}-\d\d-\d\dT[\d:]+Z|127\.0\.0\.1:\d+`)

func TestRecording_ShowsTheCurrentOutputOfTheCommands(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "recording.svg")
	record := exec.CommandContext(testContext(t), "go", "run", "./e2e/recording", "-o", file)
	record.Dir = ".."
	record.Env = append(os.Environ(), "VAULT_BIN="+tools.Vault)
	said, err := record.CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	now, shown := pictureText(t, file), pictureText(t, "../docs/recording.svg")
	require.Equal(t, lab.Mask(shown), shown, "the picture shows a secret")
	require.Equal(t, passing.ReplaceAllString(shown, "…"), passing.ReplaceAllString(now, "…"), "the picture is outdated, run: make recording")
}

// pictureText returns the text of a picture. The picture must be well-formed.
func pictureText(t *testing.T, file string) string {
	t.Helper()
	picture, err := os.Open(file)
	require.NoError(t, err)
	defer picture.Close()
	var text strings.Builder
	for decoder := xml.NewDecoder(picture); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return text.String()
		}
		require.NoError(t, err)
		if data, ok := token.(xml.CharData); ok {
			text.Write(data)
		}
	}
}
