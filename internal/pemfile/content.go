package pemfile

// What is in a block, or in a file of DER.

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

const (
	howToDecrypt = "it is encrypted; decrypt it with openssl pkey -in FILE -out NEWFILE"
	howToUnpack  = "it is PKCS #12 (a .pfx or .p12 file); take it apart with openssl pkcs12 -in FILE -nodes -out NEWFILE"
	howToConvert = "it is a key in OpenSSH's own form; convert a copy with ssh-keygen -p -m PKCS8 -f FILE"
	whichKeys    = "an RSA or ECDSA key is needed"
)

// add takes what is in a block. Blocks that hold neither certificates nor keys are passed over.
func (f *File) add(b block) {
	kind := Certificate
	if strings.HasSuffix(b.label, "PRIVATE KEY") {
		kind = Key
	}
	problem := func(why string, err error) {
		f.Problems = append(f.Problems, &Problem{File: f.Name, Block: b.number, Line: b.line, Kind: kind, Why: why, Err: err})
	}
	switch b.label {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE", "PKCS7", "CMS",
		"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY", "DSA PRIVATE KEY":
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		f.requests = true
		return
	default:
		return
	}
	switch {
	case b.encrypted, b.label == "ENCRYPTED PRIVATE KEY":
		problem(howToDecrypt, nil)
	case b.label == "OPENSSH PRIVATE KEY":
		problem(howToConvert, nil)
	case b.err != nil:
		problem(b.why, unlessUnread(b.err))
	case kind == Key:
		key, err := parseKey(b.der)
		if err != nil {
			problem("the key in it can't be used; "+whichKeys, err)
			return
		}
		f.Keys = append(f.Keys, key)
	case b.label == "PKCS7", b.label == "CMS":
		f.addPKCS7(b.der, problem)
	default:
		f.addCertificate(b.der, problem)
	}
}

func unlessUnread(err error) error {
	if errors.Is(err, errUnread) {
		return nil
	}
	return err
}

const oddCertificate = "it is a certificate that can't be parsed; have it issued again, or remove it if it isn't needed"

func (f *File) addCertificate(der []byte, problem func(why string, err error)) {
	// OpenSSL's TRUSTED CERTIFICATE has something behind the certificate.
	var first asn1.RawValue
	if _, err := asn1.Unmarshal(der, &first); err == nil {
		der = first.FullBytes
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		problem(oddCertificate, err)
		return
	}
	f.Certificates = append(f.Certificates, certificate)
}

// addPKCS7 takes the certificates of a SignedData (RFC 5652, section 5.1).
func (f *File) addPKCS7(der []byte, problem func(why string, err error)) {
	const wrong = "it is PKCS #7 that can't be read; convert it with openssl pkcs7 -print_certs -in FILE -out NEWFILE"
	var outer struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	var signed struct {
		Version      int
		Digests      asn1.RawValue
		Content      asn1.RawValue
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
	}
	_, err := asn1.Unmarshal(der, &outer)
	if err == nil && !outer.Type.Equal(signedData) {
		err = fmt.Errorf("content of type %s", outer.Type)
	}
	if err == nil {
		_, err = asn1.Unmarshal(firstOf(outer.Content), &signed)
	}
	if err != nil {
		problem(wrong, err)
		return
	}
	for rest := signed.Certificates.Bytes; len(rest) > 0; {
		var one asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &one); err != nil {
			problem(wrong, err)
			return
		}
		f.addCertificate(one.FullBytes, problem)
	}
}

// firstOf is the element in an explicit tag, which encoding/asn1 gives with or without the tag's own head.
func firstOf(content asn1.RawValue) []byte {
	if content.Class == asn1.ClassContextSpecific {
		return content.Bytes
	}
	return content.FullBytes
}

var signedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// addBinary takes a file of DER: certificates, PKCS #7, or one key.
func (f *File) addBinary(der []byte) {
	kind := Certificate
	problem := func(why string, err error) {
		f.Problems = append(f.Problems, &Problem{File: f.Name, Block: 1, Kind: kind, Why: why, Err: err})
	}
	if key, err := parseKey(der); err == nil {
		f.Keys = append(f.Keys, key)
		return
	}
	var outer struct {
		First asn1.RawValue
		Rest  asn1.RawValue `asn1:"optional"`
	}
	var body asn1.RawValue
	_, _ = asn1.Unmarshal(der, &body)
	_, _ = asn1.Unmarshal(body.Bytes, &outer.First)
	switch {
	case bytes.Equal(outer.First.FullBytes, []byte{2, 1, 3}): // INTEGER 3, PFX's version
		problem(howToUnpack, nil)
		kind = Key
		problem(howToUnpack, nil)
	case outer.First.Tag == asn1.TagOID:
		f.addPKCS7(der, problem)
	case outer.First.Tag == asn1.TagInteger:
		kind = Key
		_, err := parseKey(der)
		problem("it is a private key in DER that can't be used; "+whichKeys, err)
	default:
		for rest := der; len(rest) > 0; {
			var one asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &one); err != nil {
				problem("it is DER (binary) that is damaged; copy it again as a whole", err)
				return
			}
			f.addCertificate(one.FullBytes, problem)
		}
	}
}

// parseKey reads PKCS #8, PKCS #1 or SEC 1, whatever the label says: tools mix them up.
func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if pkcs1, otherErr := x509.ParsePKCS1PrivateKey(der); otherErr == nil {
			return pkcs1, nil
		}
		if sec1, otherErr := x509.ParseECPrivateKey(der); otherErr == nil {
			return sec1, nil
		}
		return nil, keyError(der, err)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case *ecdsa.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a key of type %T", key)
}

// keyKinds are object identifiers of keys and curves that are met and can't be used.
var keyKinds = []struct {
	id   asn1.ObjectIdentifier
	name string
}{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, "an RSA key that is for PSS alone"},
	{asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}, "a DSA key"},
	{asn1.ObjectIdentifier{1, 3, 101, 113}, "an Ed448 key"},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 10}, "an ECDSA key on the curve secp256k1"},
	{asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 7}, "an ECDSA key on the curve brainpoolP256r1"},
	{asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 11}, "an ECDSA key on the curve brainpoolP384r1"},
	{asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 13}, "an ECDSA key on the curve brainpoolP512r1"},
}

// keyError names the kind of a key that Go doesn't know.
func keyError(der []byte, err error) error {
	for _, kind := range keyKinds {
		if id, marshalErr := asn1.Marshal(kind.id); marshalErr == nil && bytes.Contains(der, id) {
			return errors.New(kind.name)
		}
	}
	return err
}
