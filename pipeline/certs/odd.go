package certs

// What is unusual about a certificate that can't be parsed or whose key isn't taken, in words for whoever has to have it
// issued again. Go refuses much that other programs accept, and says it in words that may quote the certificate.

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"countersign/pipeline/signature"
)

// oddCertificate is the error about a certificate that a site serves and that can't be parsed.
type oddCertificate struct {
	number int    // in the chain, from 1, which is the leaf
	der    []byte // nil where TLS 1.3 hides it
	err    error  // of crypto/x509
}

func (o *oddCertificate) Error() string {
	return fmt.Sprintf("parsing certificate %d of the chain: %v", o.number, o.err)
}

func (o *oddCertificate) Unwrap() error { return o.err }

// reason is what the uploader reads.
func (o *oddCertificate) reason() string {
	text := o.err.Error()
	if key := describeKeyOf(o.der); strings.Contains(text, "unsupported elliptic curve") || errors.Is(o.err, errHugeKey) {
		if key == "" {
			key = "a key on an elliptic curve"
		}
		return fmt.Sprintf("%s has %s, of a kind or size that isn't accepted; %s", o.which(), key, keyRemedy)
	}
	for _, oddity := range oddities {
		if strings.Contains(text, oddity.found) {
			return fmt.Sprintf("%s is not well-formed (RFC 5280): %s; have it issued again without that", o.which(), oddity.means)
		}
	}
	return o.which() + " is not well-formed (RFC 5280), and can't be parsed; have it issued again"
}

func (o *oddCertificate) which() string {
	if o.number > 1 {
		return fmt.Sprintf("certificate number %d of the chain that it serves", o.number)
	}
	return "its certificate"
}

// oddities are what stands in errors of crypto/x509, and what that means. The first that fits counts.
var oddities = []struct{ found, means string }{
	{"negative serial number", "its serial number is negative"},
	{"serial number", "its serial number is encoded wrongly"},
	{"don't match", "it names two signature algorithms that differ"},
	{"signature algorithm", "its signature algorithm is encoded wrongly"},
	{"duplicate extension", "it has the same extension twice"},
	{"incorrectly marked critical", "an extension is marked as critical that must not be"},
	{"subject alternative name", "its alternative names are encoded wrongly"},
	{"SAN ", "one of its alternative names is encoded wrongly"},
	{"cannot parse URI", "one of its alternative names is a URI that can't be parsed"},
	{"cannot parse IP address", "one of its alternative names is an IP address of a wrong length"},
	{"onstraint", "its constraints are encoded wrongly"},
	{"usage", "its key usage is encoded wrongly"},
	{"RDNSequence", "its subject or issuer is encoded wrongly"},
	{"issuer", "its issuer is encoded wrongly"},
	{"Time", "its dates are encoded wrongly"},
	{"time format", "its dates are encoded wrongly"},
	{"validity", "its dates are encoded wrongly"},
	{"version", "its version is not one of 1, 2 and 3"},
	{"extension", "an extension is encoded wrongly"},
	{"RSA", "its RSA key is encoded wrongly"},
	{"ECDSA", "its ECDSA key is encoded wrongly"},
	{"elliptic curve point", "its key is no point of its curve"},
	{"Ed25519", "its Ed25519 key is encoded wrongly"},
	{"public key", "its key is encoded wrongly"},
	{"spki", "its key is encoded wrongly"},
	{"trailing data", "further bytes follow it"},
}

// parseFailure is the error about a certificate that crypto/tls couldn't parse, made from its words: those of TLS 1.3
// can't be had otherwise. nil: err is another one.
func parseFailure(err error) *oddCertificate {
	if _, text, ok := strings.Cut(err.Error(), "failed to parse certificate from server: "); ok {
		return &oddCertificate{number: 1, err: errors.New(text)}
	}
	return nil
}

// unusableKey is the error of a leaf whose key the service doesn't verify with.
type unusableKey struct {
	what string // the key, with its article
	err  error  // wraps signature.ErrUnsupportedKey
}

func (k *unusableKey) Error() string { return k.err.Error() }
func (k *unusableKey) Unwrap() error { return k.err }

// describeKey says in words what key a certificate has; empty: a key without a name.
func describeKey(certificate *x509.Certificate) string {
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		if _, err := signature.NewKey(&rsa.PublicKey{N: key.N, E: 65537}); err == nil {
			return fmt.Sprintf("an RSA key with the exponent %d", key.E)
		}
		return fmt.Sprintf("an RSA key of %d bits", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "an ECDSA key on " + key.Params().Name
	case ed25519.PublicKey:
		return "an Ed25519 key"
	}
	return describeKeyOf(certificate.Raw)
}

// describeKeyOf is describeKey for certificates that crypto/x509 can't parse, and for keys that it doesn't know.
func describeKeyOf(der []byte) string {
	var certificate struct { // RFC 5280, section 4.1; what follows the key is left out
		TBS struct {
			Version                                      asn1.RawValue `asn1:"optional,explicit,tag:0"`
			Serial, Algorithm, Issuer, Validity, Subject asn1.RawValue
			Key                                          struct {
				Algorithm pkix.AlgorithmIdentifier
				Bits      asn1.BitString
			}
		}
	}
	if _, err := asn1.Unmarshal(der, &certificate); err != nil {
		return ""
	}
	algorithm := certificate.TBS.Key.Algorithm
	kind := algorithm.Algorithm.String()
	if kind != "1.2.840.10045.2.1" {
		return keyKinds[kind]
	}
	var curve asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(algorithm.Parameters.FullBytes, &curve); err != nil {
		return "an ECDSA key on a curve without a name"
	}
	if name := curves[curve.String()]; name != "" {
		return "an ECDSA key on " + name
	}
	return "an ECDSA key on the curve " + curve.String()
}

// Constants, as far as the language has them for maps. The keys are object identifiers.
var (
	keyKinds = map[string]string{
		"1.2.840.113549.1.1.1":    "an RSA key",
		"1.2.840.113549.1.1.10":   "an RSA-PSS key",
		"1.2.840.10040.4.1":       "a DSA key",
		"1.3.101.112":             "an Ed25519 key",
		"1.3.101.113":             "an Ed448 key",
		"2.16.840.1.101.3.4.3.17": "an ML-DSA-44 key",
		"2.16.840.1.101.3.4.3.18": "an ML-DSA-65 key",
		"2.16.840.1.101.3.4.3.19": "an ML-DSA-87 key",
	}
	curves = map[string]string{
		"1.3.132.0.10":          "secp256k1",
		"1.3.132.0.33":          "P-224",
		"1.2.840.10045.3.1.1":   "P-192",
		"1.3.36.3.3.2.8.1.1.7":  "brainpoolP256r1",
		"1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1",
		"1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
		"1.2.156.10197.1.301":   "SM2",
	}
)
