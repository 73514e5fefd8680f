// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	hostName     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	defaultPorts = map[string]string{"https": "443", "http": "80"}
	website      = map[string]bool{"modal.com": true, "www.modal.com": true}
)

// ParseServerURL returns raw in its one spelling, with the host in lower case and the port without
// leading zeros, when it is a server URL that all three Modal clients read alike: "https://host:port", or
// "http://host:port" for a loopback host alone.
// Its errors are meant for the operator and give the corrected form where there is one; they never
// repeat user info.
func ParseServerURL(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	mistake, better := inspect(raw)
	if mistake == "" {
		at := strings.LastIndex(raw, ":")
		return strings.ToLower(raw[:at+1]) + strings.TrimLeft(raw[at+1:], "0"), nil
	}
	for better != "" {
		corrected := better
		var another string
		// A correction can leave another mistake to correct.
		if another, better = inspect(corrected); another == "" {
			return "", fmt.Errorf("server_url %s: write %s", mistake, corrected)
		}
	}
	return "", fmt.Errorf("server_url %s: it reads like %s", mistake, DefaultServerURL)
}

// inspect returns the first mistake in raw, empty if there is none, and raw without that mistake if
// that can be told.
func inspect(raw string) (mistake, better string) {
	if first, _, list := strings.Cut(raw, ","); list {
		return "takes one URL, as only Modal's Python client knows lists", strings.TrimSpace(first)
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	lower := strings.ToLower(scheme)
	switch {
	case raw == "":
		return "is empty", ""
	case !ok:
		return "has no scheme", "https://" + raw
	case defaultPorts[lower] == "":
		return "must start with https://", "https://" + rest
	case scheme != lower:
		return "must have its scheme in lower case, as Modal's Go client knows no other", lower + "://" + rest
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		return "must not hold a user or a password, as tokens have their own fields", scheme + "://" + rest[at+1:]
	}
	authority := rest
	if at := strings.IndexAny(rest, `/?#\`); at >= 0 {
		authority = rest[:at]
	}
	if website[strings.ToLower(strings.Split(authority, ":")[0])] {
		return "names Modal's website, which is for people and not for programs", DefaultServerURL
	}
	if authority != rest {
		return "must end after the port, as Modal's Go and JavaScript clients take a slash, path or query for a part of it", scheme + "://" + authority
	}
	return inspectAuthority(scheme, authority)
}

func inspectAuthority(scheme, authority string) (mistake, better string) {
	host, port, _ := strings.Cut(authority, ":")
	number, err := strconv.ParseUint(cmp.Or(port, defaultPorts[scheme]), 10, 16)
	switch {
	case strings.HasPrefix(authority, "[") || strings.Contains(port, ":"):
		return "must not hold an IPv6 address, as Modal's Python client cannot read one, but a host name", ""
	case !hostName.MatchString(host):
		return "has no valid host name", ""
	case err != nil || number == 0:
		return "has no valid port, a number from 1 to 65535", ""
	case scheme == "http" && !isLoopback(host):
		if port == defaultPorts["http"] {
			authority = host + ":" + defaultPorts["https"]
		}
		return "must use https, as plain http would show secrets to everybody between here and there", "https://" + authority
	case port == "":
		return "must name its port, as Modal's clients disagree about the default", scheme + "://" + host + ":" + defaultPorts[scheme]
	}
	return "", ""
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && address.IsLoopback()
}

// CheckCACert returns an error, meant for the operator, when text is not a series of PEM
// certificates. Empty text is fine.
func CheckCACert(text string) error {
	_, err := certPool(text)
	return err
}

// AddsRoots reports whether a server that could not prove its name under the first CA bundle could do so
// under the second. An empty bundle stands for the system's roots, of which nothing is known: a bundle in
// place of them adds its certificates, and they in place of a bundle add themselves. The certificates are
// compared, not the texts.
func AddsRoots(before, after string) bool {
	known, wanted := certificates(before), certificates(after)
	if len(known) == 0 || len(wanted) == 0 {
		return len(known) != len(wanted)
	}
	return slices.ContainsFunc(wanted, func(cert *x509.Certificate) bool { return !slices.ContainsFunc(known, cert.Equal) })
}

// SameRoots reports whether two CA bundles hold the same certificates.
func SameRoots(a, b string) bool { return !AddsRoots(a, b) && !AddsRoots(b, a) }

// certificates returns the certificates of a bundle that [CheckCACert] accepts.
func certificates(text string) []*x509.Certificate {
	certs, _ := parseCertificates(text)
	return certs
}

// certPool returns the certificates in text, or nil, which means the system's roots, when it is empty.
func certPool(text string) (*x509.CertPool, error) {
	certs, err := parseCertificates(text)
	if err != nil || len(certs) == 0 {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, nil
}

func parseCertificates(text string) (certs []*x509.Certificate, err error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	block, rest := pem.Decode([]byte(text))
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("ca_cert holds a block of type %q: give certificates alone", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("ca_cert holds a certificate that cannot be read: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 || strings.Contains(string(rest), "-----BEGIN") {
		return nil, errors.New("ca_cert holds no complete PEM certificate: it starts with -----BEGIN CERTIFICATE----- and ends with -----END CERTIFICATE-----")
	}
	return certs, nil
}
