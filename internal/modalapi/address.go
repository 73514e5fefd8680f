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

// ParseServerURL checks a server URL and returns its canonical form: the host in lower case, the port without
// leading zeros. It accepts only a URL that all three Modal clients read alike: "https://host:port", or
// "http://host:port" if the host is a loopback host.
//
// The errors are written for the operator. They give the corrected URL if there is one, and they never repeat
// a user or a password.
func ParseServerURL(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	mistake, better := checkURL(raw)
	if mistake == "" {
		at := strings.LastIndex(raw, ":")
		return strings.ToLower(raw[:at+1]) + strings.TrimLeft(raw[at+1:], "0"), nil
	}
	for better != "" {
		corrected := better
		var next string
		// A corrected URL can still contain a second mistake.
		if next, better = checkURL(corrected); next == "" {
			return "", fmt.Errorf("server_url %s: write %s", mistake, corrected)
		}
	}
	return "", fmt.Errorf("server_url %s: give a URL like %s", mistake, DefaultServerURL)
}

// checkURL returns the first mistake in raw and a corrected URL. The mistake is empty if raw is valid. The
// corrected URL is empty if no correction is known.
func checkURL(raw string) (mistake, better string) {
	if first, _, list := strings.Cut(raw, ","); list {
		return "takes one URL, because only Modal's Python client accepts a list", strings.TrimSpace(first)
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
		return "must have its scheme in lower case, because Modal's Go client accepts no other spelling", lower + "://" + rest
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		return "must not contain a user or a password: tokens have their own fields", scheme + "://" + rest[at+1:]
	}
	authority := rest
	if at := strings.IndexAny(rest, `/?#\`); at >= 0 {
		authority = rest[:at]
	}
	if website[strings.ToLower(strings.Split(authority, ":")[0])] {
		return "names Modal's website, which is not the API", DefaultServerURL
	}
	if authority != rest {
		return "must end after the port, because Modal's Go and JavaScript clients read a slash, path or query as a part of the port", scheme + "://" + authority
	}
	return checkAuthority(scheme, authority)
}

func checkAuthority(scheme, authority string) (mistake, better string) {
	host, port, _ := strings.Cut(authority, ":")
	number, err := strconv.ParseUint(cmp.Or(port, defaultPorts[scheme]), 10, 16)
	switch {
	case strings.HasPrefix(authority, "[") || strings.Contains(port, ":"):
		return "must contain a host name instead of an IPv6 address, because Modal's Python client cannot read an IPv6 address", ""
	case !hostName.MatchString(host):
		return "has no valid host name", ""
	case err != nil || number == 0:
		return "has no valid port, a number from 1 to 65535", ""
	case scheme == "http" && !isLoopback(host):
		if port == defaultPorts["http"] {
			authority = host + ":" + defaultPorts["https"]
		}
		return "must use https, because plain http would send the secrets unencrypted", "https://" + authority
	case port == "":
		return "must name its port, because Modal's clients have different default ports", scheme + "://" + host + ":" + defaultPorts[scheme]
	}
	return "", ""
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && address.IsLoopback()
}

// CheckCACert returns an error, written for the operator, if text is not a series of PEM certificates. An
// empty text is valid.
func CheckCACert(text string) error {
	_, err := certPool(text)
	return err
}

// AddsRoots reports whether the second CA bundle contains a certificate that the first bundle does not
// contain. If so, a server that failed verification under the first bundle could pass under the second.
// AddsRoots compares certificates, not texts.
//
// An empty bundle means the system's roots. Their certificates are unknown here, so a change from or to an
// empty bundle counts as an addition.
func AddsRoots(before, after string) bool {
	known, wanted := certificates(before), certificates(after)
	if len(known) == 0 || len(wanted) == 0 {
		return len(known) != len(wanted)
	}
	return slices.ContainsFunc(wanted, func(cert *x509.Certificate) bool { return !slices.ContainsFunc(known, cert.Equal) })
}

// SameRoots reports whether two CA bundles contain the same certificates.
func SameRoots(a, b string) bool { return !AddsRoots(a, b) && !AddsRoots(b, a) }

// certificates returns the certificates of a bundle that [CheckCACert] accepts.
func certificates(text string) []*x509.Certificate {
	certs, _ := parseCertificates(text)
	return certs
}

// certPool returns the certificates in text as a pool. For an empty text it returns nil, which means the
// system's roots.
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
			return nil, fmt.Errorf("ca_cert contains a block of type %q: give certificates only", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("ca_cert contains a certificate that cannot be read: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 || strings.Contains(string(rest), "-----BEGIN") {
		return nil, errors.New("ca_cert contains no complete PEM certificate: a certificate starts with -----BEGIN CERTIFICATE----- and ends with -----END CERTIFICATE-----")
	}
	return certs, nil
}
