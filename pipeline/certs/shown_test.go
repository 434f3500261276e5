package certs

// A chain that was shown and verified counts, however the handshake ends; and what is said where none was shown.

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"countersign/testsite"
)

// configOf is a server's configuration with the site's chains.
func configOf(site *testsite.Site, ca func(*tls.Config)) *tls.Config {
	config := &tls.Config{SessionTicketsDisabled: true}
	for _, chain := range site.Chains() {
		leaf, _ := x509.ParseCertificate(chain[0])
		var key crypto.Signer = site.ECDSAKey()
		if leaf.PublicKeyAlgorithm == x509.RSA {
			key = site.RSAKey()
		}
		config.Certificates = append(config.Certificates, tls.Certificate{Certificate: chain, PrivateKey: key})
	}
	ca(config)
	return config
}

// handshakes answers with config, over what wrap makes of the connection, and waits until the client has gone.
func handshakes(t *testing.T, config *tls.Config, wrap func(net.Conn) net.Conn) (address string) {
	return listen(t, func(c net.Conn) {
		if wrap != nil {
			c = wrap(c)
		}
		if tls.Server(c, config).Handshake() == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	})
}

func TestASiteThatWantsToKnowItsClientsCounts(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Keys: []crypto.Signer{keyAt(t, elliptic.P256()), rsaKey()}})
	for _, c := range []struct {
		name string
		auth tls.ClientAuthType
		max  uint16
		min  uint16
		want int // chains; TLS 1.3 shows one
	}{
		{"asks", tls.RequestClientCert, 0, 0, 2},
		{"demands over TLS 1.2", tls.RequireAnyClientCert, tls.VersionTLS12, 0, 2},
		{"demands over TLS 1.3", tls.RequireAnyClientCert, 0, tls.VersionTLS13, 1},
		{"demands over both", tls.RequireAndVerifyClientCert, 0, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := configOf(site, func(s *tls.Config) { s.ClientAuth, s.MaxVersion, s.MinVersion = c.auth, c.max, c.min })
			chains, err := lookAt(t.Context(), at(ca, handshakes(t, config, nil)), siteName)
			if err != nil || len(chains) != c.want {
				t.Fatalf("%d chains, want %d: %v", len(chains), c.want, err)
			}
		})
	}
}

// cutOff passes on what a TLS 1.2 server writes, up to a handshake message of the type last, and then calls end.
type cutOff struct {
	net.Conn
	last byte
	end  func(net.Conn)
}

func (c *cutOff) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 5; {
		size := 5 + int(binary.BigEndian.Uint16(rest[3:]))
		record := rest[:size]
		if _, err := c.Conn.Write(record); err != nil {
			return 0, err
		}
		rest = rest[size:]
		if record[0] == recordHandshake && record[5] == c.last {
			c.end(c.Conn)
			return 0, io.ErrClosedPipe
		}
	}
	return len(b), nil
}

const messageServerHelloDone = 14

func TestAChainCountsHoweverTheHandshakeEnds(t *testing.T) {
	ca := newCA(t)
	endings := map[string]func(net.Conn){
		"close":          func(c net.Conn) { c.Close() },
		"reset":          func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
		"alert":          func(c net.Conn) { _, _ = io.WriteString(c, "\x15\x03\x03\x00\x02\x02\x28"); c.Close() },
		"silence":        func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"what no TLS is": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); c.Close() },
	}
	for kind, config := range map[string]testsite.SiteConfig{
		"RSA": {Keys: []crypto.Signer{rsaKey()}}, "P-256": {Curve: elliptic.P256()},
	} {
		site := newSite(t, ca, siteName, config)
		server := configOf(site, func(s *tls.Config) { s.MaxVersion = tls.VersionTLS12 })
		for after, last := range map[string]byte{"its certificates": messageCertificate, "all it has to say": messageServerHelloDone} {
			for ending, end := range endings {
				t.Run(kind+" "+ending+" after "+after, func(t *testing.T) {
					t.Parallel()
					address := handshakes(t, server, func(c net.Conn) net.Conn { return &cutOff{Conn: c, last: last, end: end} })
					look := at(ca, address)
					if ending == "silence" {
						look.Timeout = 3 * time.Second // the chain is there by then, or the look fails
					}
					chains, err := lookAt(t.Context(), look, siteName)
					if err != nil || len(chains) != 1 {
						t.Fatalf("%d chains, want the one that was shown: %v", len(chains), err)
					}
				})
			}
		}
	}
}

// Whoever sends a proof sends a good one: a chain with the signature of another key doesn't count.
func TestAChainWithAFalseProofDoesNotCount(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := configOf(site, func(s *tls.Config) {
			s.MinVersion, s.MaxVersion = version, version
			s.Certificates[0].PrivateKey = keyAt(t, elliptic.P256())
		})
		_, err := lookAt(t.Context(), at(ca, handshakes(t, config, nil)), siteName)
		unavailable(t, err, siteName, "doesn't prove that it has the key")
	}
}

// A chain that doesn't hold is refused for that, also where the handshake is ended first.
func TestAChainThatDoesNotHoldIsToldOfHoweverTheHandshakeEnds(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256(), Names: []string{"other.example"}})
	server := configOf(site, func(s *tls.Config) { s.MaxVersion = tls.VersionTLS12 })
	closing := func(c net.Conn) net.Conn {
		return &cutOff{Conn: c, last: messageCertificate, end: func(c net.Conn) { c.Close() }}
	}
	_, err := lookAt(t.Context(), at(ca, handshakes(t, server, closing)), siteName)
	unavailable(t, err, siteName, "for other names")
}

// negative gives a certificate a negative serial number, which Go doesn't parse. Its signature is no good any more.
func negative(t *testing.T, der []byte) []byte {
	t.Helper()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	odd := bytes.Clone(der)
	i := bytes.Index(odd, leaf.SerialNumber.Bytes())
	odd[i] |= 0x80
	if odd[i-1] == 0 { // the zero that made it positive
		odd[i-1] = 0x81
	}
	if _, err := x509.ParseCertificate(odd); err == nil || !strings.Contains(err.Error(), "serial") {
		t.Fatalf("the odd certificate: %v", err)
	}
	return odd
}

func TestOddCertificatesAreToldOf(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	chain := site.Chains()[0]
	odd := negative(t, chain[0])
	for _, c := range []struct {
		name    string
		served  [][]byte
		version uint16
		why     string // empty: the chain counts
	}{
		{"the leaf", [][]byte{odd, chain[1]}, tls.VersionTLS12, "serial number is negative"},
		{"the leaf, over TLS 1.3", [][]byte{odd, chain[1]}, tls.VersionTLS13, "serial number is negative"},
		{"one that is needed", [][]byte{chain[0], negative(t, chain[1])}, tls.VersionTLS12, "certificate number 2"},
		{"one that is not needed", [][]byte{chain[0], chain[1], odd}, tls.VersionTLS12, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := configOf(site, func(s *tls.Config) {
				s.MinVersion, s.MaxVersion = c.version, c.version
				s.Certificates[0].Certificate = c.served
				s.Certificates[0].Leaf, _ = x509.ParseCertificate(chain[0])
			})
			chains, err := lookAt(t.Context(), at(ca, handshakes(t, config, nil)), siteName)
			if c.why != "" {
				unavailable(t, err, siteName, c.why)
			} else if err != nil || len(chains) != 1 {
				t.Errorf("%d chains: %v", len(chains), err)
			}
		})
	}
}

func TestOldVersionsOfTLSAreNamed(t *testing.T) {
	ca := newCA(t)
	site := newSite(t, ca, siteName, testsite.SiteConfig{Keys: []crypto.Signer{rsaKey()}})
	for version, why := range map[uint16]string{tls.VersionTLS10: "speaks TLS 1.0 at most", tls.VersionTLS11: "speaks TLS 1.1 at most"} {
		config := configOf(site, func(s *tls.Config) { s.MinVersion, s.MaxVersion = tls.VersionTLS10, version })
		_, err := lookAt(t.Context(), at(ca, handshakes(t, config, nil)), siteName)
		unavailable(t, err, siteName, why)
	}
}

// A server with nothing but a key that no program offers to take refuses everybody who doesn't, and shows its
// certificate to an inquiry.
func TestKeysThatNobodyOffersAreNamed(t *testing.T) {
	named := func(arcs ...int) asn1.RawValue {
		der, err := asn1.Marshal(asn1.ObjectIdentifier(arcs))
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: der}
	}
	ec := asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	for want, algorithm := range map[string]pkix.AlgorithmIdentifier{
		"an ECDSA key on brainpoolP256r1":        {Algorithm: ec, Parameters: named(1, 3, 36, 3, 3, 2, 8, 1, 1, 7)},
		"an ECDSA key on secp256k1":              {Algorithm: ec, Parameters: named(1, 3, 132, 0, 10)},
		"an ECDSA key on the curve 1.2.3":        {Algorithm: ec, Parameters: named(1, 2, 3)},
		"an ECDSA key on a curve without a name": {Algorithm: ec, Parameters: asn1.NullRawValue},
		"an RSA-PSS key":                         {Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}},
	} {
		if got := describeKeyOf(withKey(t, algorithm)); got != want {
			t.Errorf("described as %q, want %q", got, want)
		}
	}
	der := withKey(t, pkix.AlgorithmIdentifier{Algorithm: ec, Parameters: named(1, 3, 132, 0, 10)})
	if _, err := x509.ParseCertificate(der); err == nil || !strings.Contains(err.Error(), "unsupported elliptic curve") {
		t.Fatalf("crypto/x509 says %v", err)
	}
	var connections atomic.Int32
	address := listen(t, func(c net.Conn) {
		answer := "\x15\x03\x03\x00\x02\x02\x28"
		if connections.Add(1) == 4 { // after one for RSA, ECDSA and TLS 1.3 each
			answer = string(saying(der))
		}
		say(answer)(c)
	})
	_, err := lookAt(t.Context(), at(newCA(t), address), siteName)
	unavailable(t, err, siteName, "an ECDSA key on secp256k1, of a kind or size that isn't accepted")
	if connections.Load() != visitConnections {
		t.Errorf("%d connections, want %d", connections.Load(), visitConnections)
	}
}

// withKey is a certificate with a key of some algorithm, as far as it has to be one.
func withKey(t *testing.T, algorithm pkix.AlgorithmIdentifier) []byte {
	t.Helper()
	type key struct {
		Algorithm pkix.AlgorithmIdentifier
		Bits      asn1.BitString
	}
	type validity struct{ From, To time.Time }
	sha256RSA := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}}
	bits := asn1.BitString{Bytes: []byte{4, 1, 2}, BitLength: 24}
	type tbs struct {
		Version   int `asn1:"explicit,tag:0"`
		Serial    *big.Int
		Algorithm pkix.AlgorithmIdentifier
		Issuer    pkix.RDNSequence
		Validity  validity
		Subject   pkix.RDNSequence
		Key       key
	}
	der, err := asn1.Marshal(struct {
		TBS       tbs
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		tbs{2, big.NewInt(1), sha256RSA, pkix.RDNSequence{}, validity{time.Unix(0, 0).UTC(), time.Unix(1, 0).UTC()}, pkix.RDNSequence{}, key{algorithm, bits}},
		sha256RSA, bits,
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// saying is a TLS 1.2 server's hello and its certificates.
func saying(certificates ...[]byte) []byte {
	sized := func(b []byte) []byte {
		return append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
	}
	hello := append([]byte{3, 3}, make([]byte, 32+1+2+1)...)
	var list []byte
	for _, certificate := range certificates {
		list = append(list, sized(certificate)...)
	}
	messages := append([]byte{messageServerHello}, sized(hello)...)
	messages = append(messages, messageCertificate)
	messages = append(messages, sized(sized(list))...)
	return append([]byte{recordHandshake, 3, 3, byte(len(messages) >> 8), byte(len(messages))}, messages...)
}

func FuzzSpeech(f *testing.F) {
	f.Add(saying([]byte("one"), []byte("two")))
	f.Add([]byte("\x16\x03\x03\x00\x08\x02\x00\x00\x04\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, heard []byte) {
		total := 0
		for _, certificate := range parseSpeech(heard).certificates {
			total += len(certificate)
		}
		if total > len(heard) {
			t.Errorf("%d bytes of certificates in %d bytes", total, len(heard))
		}
	})
}

func TestSpeechIsReadAcrossRecords(t *testing.T) {
	whole := saying([]byte("one"), []byte("two"))
	var cut []byte
	for _, b := range whole[5:] { // a record a byte
		cut = append(cut, recordHandshake, 3, 3, 0, 1, b)
	}
	for name, heard := range map[string][]byte{"one record": whole, "a record a byte": cut} {
		if said := parseSpeech(heard); len(said.certificates) != 2 || string(said.certificates[1]) != "two" || said.version != tls.VersionTLS12 {
			t.Errorf("%s: %+v", name, said)
		}
		if said := parseSpeech(heard[:len(heard)-1]); len(said.certificates) == 2 {
			t.Errorf("%s, cut short: %+v", name, said)
		}
	}
}
