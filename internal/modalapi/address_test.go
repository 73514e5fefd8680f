// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestParseServerURL_KeepsAURLThatAllClientsAccept(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		modalapi.DefaultServerURL,
		"https://modal.example.internal:8443",
		"https://10.0.0.7:443",
		"http://localhost:9900",
		"http://127.0.0.1:9900",
		"http://127.1.2.3:80",
		"https://127.0.0.1:9900",
	} {
		got, err := modalapi.ParseServerURL(" " + good + "\n")
		require.NoError(t, err)
		require.Equal(t, good, got)
	}
}

func TestParseServerURL_NamesAndCorrectsEachMistake(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]struct{ mistake, corrected string }{
		"":                                             {"is empty", ""},
		"api.modal.com":                                {"has no scheme", "https://api.modal.com:443"},
		"api.modal.com:443":                            {"has no scheme", "https://api.modal.com:443"},
		"grpc://api.modal.com:443":                     {"must start with https://", "https://api.modal.com:443"},
		"unix:///run/modal.sock":                       {"must start with https://", ""},
		"HTTPS://api.modal.com:443":                    {"lower case", "https://api.modal.com:443"},
		"https://api.modal.com":                        {"must name its port", "https://api.modal.com:443"},
		"https://api.modal.com:":                       {"must name its port", "https://api.modal.com:443"},
		"http://localhost":                             {"must name its port", "http://localhost:80"},
		"https://api.modal.com:443/":                   {"must end after the port", "https://api.modal.com:443"},
		"https://api.modal.com/":                       {"must end after the port", "https://api.modal.com:443"},
		"https://api.modal.com:443/api":                {"must end after the port", "https://api.modal.com:443"},
		"https://api.modal.com:443?a=b":                {"must end after the port", "https://api.modal.com:443"},
		"https://api.modal.com:443#top":                {"must end after the port", "https://api.modal.com:443"},
		"https://ada:pa55word@api.modal.com":           {"user or a password", "https://api.modal.com:443"},
		"https://ada:pa/55word@host:1":                 {"user or a password", "https://host:1"},
		"http://api.modal.com:443":                     {"must use https", "https://api.modal.com:443"},
		"http://api.modal.com:80":                      {"must use https", "https://api.modal.com:443"},
		"http://api.modal.com":                         {"must use https", "https://api.modal.com:443"},
		"http://modal.example.internal:8443":           {"must use https", "https://modal.example.internal:8443"},
		"https://modal.com/settings/tokens":            {"names Modal's website", "https://api.modal.com:443"},
		"https://modal.com:443":                        {"names Modal's website", "https://api.modal.com:443"},
		"http://WWW.modal.com":                         {"names Modal's website", "https://api.modal.com:443"},
		"modal.com/settings":                           {"has no scheme", "https://api.modal.com:443"},
		"http://127.0.0.1.example.com:80":              {"must use https", "https://127.0.0.1.example.com:443"},
		"http://128.0.0.1:80":                          {"must use https", "https://128.0.0.1:443"},
		"https://api.modal.com,https://api.modal2.com": {"takes one URL", "https://api.modal.com:443"},
		"https://[::1]:443":                            {"IPv6", ""},
		"https://::1:443":                              {"IPv6", ""},
		"https://:443":                                 {"no valid host name", ""},
		"https://":                                     {"no valid host name", ""},
		"https://a b:443":                              {"no valid host name", ""},
		"https://höst:443":                             {"no valid host name", ""},
		"https://host:0":                               {"no valid port", ""},
		"https://host:65536":                           {"no valid port", ""},
		"https://host:https":                           {"no valid port", ""},
	} {
		t.Run(raw, func(t *testing.T) {
			t.Parallel()
			got, err := modalapi.ParseServerURL(raw)

			require.Empty(t, got)
			require.ErrorContains(t, err, "server_url ")
			require.ErrorContains(t, err, want.mistake)
			require.NotContains(t, err.Error(), "55word")
			if want.corrected == "" {
				require.NotContains(t, err.Error(), ": write ")
				return
			}
			require.True(t, strings.HasSuffix(err.Error(), ": write "+want.corrected), err.Error())
			_, err = modalapi.ParseServerURL(want.corrected)
			require.NoError(t, err)
		})
	}
}

func TestCheckCACert_AcceptsCertificatesAndAnEmptyText(t *testing.T) {
	t.Parallel()
	pem := modaltest.Start(t, modaltest.WithTLS()).CACert()
	for _, good := range []string{"", " \n", pem, pem + pem, "# our CA\n" + pem + "# end\n"} {
		require.NoError(t, modalapi.CheckCACert(good))
	}
}

func TestCheckCACert_RefusesAnyOtherTextWithAReason(t *testing.T) {
	t.Parallel()
	pem := modaltest.Start(t, modaltest.WithTLS()).CACert()
	for name, c := range map[string]struct{ text, want string }{
		"a path":            {"/etc/ssl/ca.pem", "no complete PEM certificate"},
		"half a block":      {pem[:len(pem)/2], "no complete PEM certificate"},
		"a second cut off":  {pem + pem[:len(pem)/2], "no complete PEM certificate"},
		"another block":     {pem + "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", `"CERTIFICATE REQUEST"`},
		"no certificate in": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, modalapi.CheckCACert(c.text), c.want)
		})
	}
}

func TestAddsRoots_ComparesCertificatesAndTreatsEmptyAsSystemRoots(t *testing.T) {
	t.Parallel()
	one, two := modaltest.Start(t, modaltest.WithTLS()).CACert(), modaltest.Start(t, modaltest.WithTLS()).CACert()
	for name, c := range map[string]struct {
		before, after string
		adds, same    bool
	}{
		"nothing changes":                     {"", "", false, true},
		"the same bundle":                     {one, one, false, true},
		"other text around the certificate":   {one, "# Modal\n" + one + "\n", false, true},
		"another order":                       {one + two, two + one, false, true},
		"a certificate twice":                 {one, one + one, false, true},
		"one more certificate":                {one, one + two, true, false},
		"one certificate less":                {one + two, two, false, false},
		"another certificate":                 {one, two, true, false},
		"a bundle in place of the system's":   {"", one, true, false},
		"the system's in place of a bundle":   {one, "", true, false},
		"white space stands for the system's": {" \n", "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.adds, modalapi.AddsRoots(c.before, c.after))
			require.Equal(t, c.same, modalapi.SameRoots(c.before, c.after))
		})
	}
}
