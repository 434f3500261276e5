package certs

// An inquiry finds out why a site refuses every offer. crypto/tls offers neither old versions nor kinds of keys that the
// service doesn't verify with, so a server that has nothing else sends an alert that says nothing. The hello of an
// inquiry offers all of that. The server answers with the version that it speaks and, in the clear, with its
// certificate. Nothing that an inquiry brings counts as a certificate of the site: it only makes a reason.

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// inquiryTime bounds an inquiry, in which nothing is computed.
const inquiryTime = 3 * time.Second

// errOldTLS is why a site that answers with an old version can't be asked.
type errOldTLS struct{ version uint16 }

func (e errOldTLS) Error() string {
	return fmt.Sprintf("the server speaks %s at most", tls.VersionName(e.version))
}

// inquire returns why a site refuses every offer; nil: it is no clearer than before.
func (n *network) inquire(ctx context.Context, t target) error {
	ctx, cancel := context.WithTimeout(ctx, inquiryTime)
	defer cancel()
	conn, err := t.dial(ctx, "tcp", t.dialled())
	if err != nil {
		return nil // the other probes have failed in a clearer way
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(inquiry(t.site)); err != nil {
		return nil
	}
	var heard []byte
	said := speech{}
	for buffer := make([]byte, 16<<10); len(heard) < maxHeard && said.certificates == nil; {
		read, err := conn.Read(buffer)
		heard = append(heard, buffer[:read]...)
		if said = parseSpeech(heard); err != nil {
			break
		}
	}
	switch {
	case said.version != 0 && said.version < tls.VersionTLS12:
		return &probeError{stage: stageInquiry, err: errOldTLS{said.version}}
	case said.certificates == nil:
		return nil
	}
	chain, err := n.verify(t.site, said.certificates)
	if err == nil {
		_, err = leafKind(chain[0])
	}
	if err == nil {
		return nil // it is a matter of the cipher suites
	}
	return &probeError{stage: stageOf(err), err: err}
}

// inquiry is a TLS 1.2 hello (RFC 5246, section 7.4.1.2) that offers nearly everything. There is no extension for
// versions in it, so a server that knows only older ones answers with the newest of those.
func inquiry(site string) []byte {
	u16 := func(numbers ...uint16) (b []byte) {
		for _, number := range numbers {
			b = binary.BigEndian.AppendUint16(b, number)
		}
		return b
	}
	sized := func(b []byte) []byte { return append(u16(uint16(len(b))), b...) }
	extension := func(number uint16, body []byte) []byte { return append(u16(number), sized(body)...) }

	var extensions []byte
	extensions = append(extensions, extension(0, sized(append([]byte{0}, sized([]byte(site))...)))...) // server_name
	// supported_groups: x25519, P-256, P-384, P-521, P-224, P-192, secp256k1, brainpool of 256, 384 and 512 bits.
	extensions = append(extensions, extension(10, sized(u16(29, 23, 24, 25, 21, 19, 22, 26, 27, 28)))...)
	extensions = append(extensions, extension(11, []byte{1, 0})...) // ec_point_formats: uncompressed
	// signature_algorithms: those of RFC 8446, section 4.2.3, and DSA.
	extensions = append(extensions, extension(13, sized(u16(
		0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0804, 0x0805, 0x0806,
		0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202, 0x0402)))...)

	suites := u16(
		0xc02b, 0xc02c, 0xcca9, 0xc009, 0xc00a, 0xc023, 0xc024, // ECDHE-ECDSA
		0xc02f, 0xc030, 0xcca8, 0xc013, 0xc014, 0xc027, 0xc028, 0xc012, // ECDHE-RSA
		0x009e, 0x009f, 0x0033, 0x0039, 0x0067, 0x006b, 0x0016, // DHE-RSA
		0x00a2, 0x00a3, 0x0032, 0x0038, // DHE-DSS
		0x009c, 0x009d, 0x002f, 0x0035, 0x003c, 0x003d, 0x000a, 0x0005, // RSA
		0x00ff) // renegotiation_info (RFC 5746), which some servers insist on

	var random [32]byte
	_, _ = rand.Read(random[:]) // it never fails
	hello := u16(tls.VersionTLS12)
	hello = append(hello, random[:]...)
	hello = append(hello, 0) // no session
	hello = append(hello, sized(suites)...)
	hello = append(hello, 1, 0) // no compression
	hello = append(hello, sized(extensions)...)
	message := append([]byte{1, 0}, sized(hello)...) // client_hello, with a length of three bytes
	return append([]byte{recordHandshake, 3, 1}, sized(message)...)
}

// maxServedKey is what crypto/tls takes of a server, in bits: a larger key makes verifying a chain slow.
const maxServedKey = 8192

func parseServed(der []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxServedKey {
		return nil, errHugeKey
	}
	return certificate, nil
}

// errHugeKey is the refusal of a key with which a chain isn't verified.
var errHugeKey = fmt.Errorf("RSA key larger than %d bits", maxServedKey)

// verify parses a chain and verifies it as crypto/tls does, but that a certificate which can't be parsed spoils the
// chain only where it is needed. The error is an *[oddCertificate] or a *[tls.CertificateVerificationError].
func (n *network) verify(site string, certificates [][]byte) ([]*x509.Certificate, error) {
	var parsed []*x509.Certificate
	var odd *oddCertificate
	for i, der := range certificates {
		certificate, err := parseServed(der)
		if err != nil && odd == nil {
			odd = &oddCertificate{number: i + 1, der: der, err: err}
		}
		if err == nil {
			parsed = append(parsed, certificate)
		} else if i == 0 {
			return nil, odd
		}
	}
	if len(parsed) == 0 {
		return nil, &oddCertificate{number: 1, err: errors.New("no certificate came")}
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range parsed[1:] {
		intermediates.AddCert(certificate)
	}
	chains, err := parsed[0].Verify(x509.VerifyOptions{
		Roots: n.Roots, CurrentTime: n.Clock(), DNSName: site, Intermediates: intermediates,
	})
	switch _, unknown := errors.AsType[x509.UnknownAuthorityError](err); {
	case err == nil:
		return chains[0], nil
	case unknown && odd != nil:
		return nil, odd
	}
	return nil, &tls.CertificateVerificationError{UnverifiedCertificates: parsed, Err: err}
}
