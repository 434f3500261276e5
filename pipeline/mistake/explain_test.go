package mistake

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const site, content = "bank.example", "what the file says\n"

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// certificate makes a leaf for a name that is valid for a year from a day on.
func certificate(t *testing.T, key crypto.Signer, name string, from time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// keys are made once for the test.
type keys struct {
	t         *testing.T
	rsa, old  *rsa.PrivateKey
	ec, other *ecdsa.PrivateKey
}

func newKeys(t *testing.T) keys {
	t.Helper()
	k := keys{t: t}
	var errs [4]error
	k.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.old, errs[1] = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.other, errs[3] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// sign signs the digest of a text by the default of the key, in the way that the options say.
func (k keys) sign(key crypto.Signer, text string, options crypto.SignerOpts) []byte {
	k.t.Helper()
	h := options.HashFunc().New()
	h.Write([]byte(text))
	return k.signDigest(key, h.Sum(nil), options)
}

func (k keys) signDigest(key crypto.Signer, digest []byte, options crypto.SignerOpts) []byte {
	k.t.Helper()
	sig, err := key.Sign(rand.Reader, digest, options)
	if err != nil {
		k.t.Fatal(err)
	}
	return sig
}

// pair is r‖s of a signature in DER.
func pair(t *testing.T, der []byte, size int) []byte {
	t.Helper()
	n, ok := numbersOf(der)
	if !ok {
		t.Fatal("no signature in DER")
	}
	return append(n.R.FillBytes(make([]byte, size)), n.S.FillBytes(make([]byte, size))...)
}

// Each mistake of the table is made here, and recognised; some are made together.
func TestExplain(t *testing.T) {
	k := newKeys(t)
	sum := sha256.Sum256([]byte(content))
	hash := hex.EncodeToString(sum[:])
	upper := strings.ToUpper(hash)
	twiceHashed := sha256.Sum256([]byte(hash))
	long := sha512.Sum512([]byte(content))
	digests := make(map[crypto.Hash][]byte)
	digests[crypto.SHA512] = long[:]
	of := func(sig []byte) string { return base64.StdEncoding.EncodeToString(sig) }
	byRSA := func(text string) string { return of(k.sign(k.rsa, text, crypto.SHA256)) }
	right := k.sign(k.rsa, hash, crypto.SHA256)
	backwards := slices.Clone(right)
	slices.Reverse(backwards)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	thisYear := now.AddDate(0, -1, 0)
	ofRSA, ofEC := certificate(t, k.rsa, site, thisYear), certificate(t, k.ec, site, thisYear)
	ofOld, next := certificate(t, k.old, site, now.AddDate(-2, 0, 0)), certificate(t, k.old, site, now.AddDate(0, 1, 0))
	elsewhere, onP384, ofEd := certificate(t, k.old, "mirror.example", thisYear), certificate(t, k.other, site, thisYear), certificate(t, ed, site, thisYear)
	withURLLetters := strings.NewReplacer("+", "-", "/", "_", "=", "_").Replace(of(right))
	found := make(map[*Mistake]bool)
	for _, c := range []struct {
		name         string
		text         string
		certificates []*x509.Certificate // nil: the RSA one
		want         []*Mistake
	}{
		{"right, RSA", of(right), nil, nil},
		{"right, ECDSA", of(k.sign(k.ec, hash, crypto.SHA256)), []*x509.Certificate{ofRSA, ofEC}, nil},
		{"echo", byRSA(hash + "\n"), nil, []*Mistake{lineFeed}},
		{"echo, capital letters", byRSA(upper + "\n"), nil, []*Mistake{lineFeed}},
		{"PowerShell", byRSA(hash + "\r\n"), nil, []*Mistake{carriageReturn}},
		{"bytes", byRSA(string(sum[:])), nil, []*Mistake{rawBytes}},
		{"capital letters", byRSA(upper), nil, []*Mistake{letterCase}},
		{"the file", byRSA(content), nil, []*Mistake{fileItself}},
		{"the file with SHA-512", of(k.sign(k.rsa, content, crypto.SHA512)), nil, []*Mistake{fileItself, otherDigest}},
		{"a line of sha256sum", byRSA(hash + "  a file.txt\n"), nil, []*Mistake{sumLine}},
		{"a line of sha256sum < file", byRSA(hash + "  -"), nil, []*Mistake{sumLine}},
		{"hashed twice", byRSA(string(twiceHashed[:])), nil, []*Mistake{hashedTwice}},
		{"UTF-16", byRSA(string(utf16Text("\ufeff" + hash + "\r\n"))), nil, []*Mistake{otherEncoding}},
		{"quotes", byRSA(`"` + hash + `"`), nil, []*Mistake{otherEncoding}},
		{"nothing", byRSA(""), nil, []*Mistake{nothing}},
		{"another file, RSA", byRSA("something else"), nil, []*Mistake{otherText}},
		{"SHA-1", of(k.sign(k.rsa, hash, crypto.SHA1)), nil, []*Mistake{otherDigest}},
		{"SHA-384, ECDSA", of(k.sign(k.ec, hash, crypto.SHA384)), []*x509.Certificate{ofEC}, []*Mistake{otherDigest}},
		{"MD5 and a line feed", of(k.sign(k.rsa, hash+"\n", crypto.MD5)), nil, []*Mistake{lineFeed, otherDigest}},
		{"PSS", of(k.sign(k.rsa, hash, &rsa.PSSOptions{Hash: crypto.SHA256})), nil, []*Mistake{pss}},
		{"PSS with SHA-512", of(k.sign(k.rsa, hash, &rsa.PSSOptions{Hash: crypto.SHA512})), nil, []*Mistake{pss, otherDigest}},
		{"rsautl", of(k.signDigest(k.rsa, sum[:], crypto.Hash(0))), nil, []*Mistake{rawBytes, noDigestInfo}},
		{"a bare digest", of(k.signDigest(k.rsa, twiceHashed[:], crypto.Hash(0))), nil, []*Mistake{noDigestInfo}},
		{"r||s", of(pair(t, k.sign(k.ec, hash, crypto.SHA256), 32)), []*x509.Certificate{ofEC}, []*Mistake{pairOfNumbers}},
		{"r||s on P-384 and a line feed", of(pair(t, k.sign(k.other, hash+"\n", crypto.SHA256), 48)), []*x509.Certificate{onP384}, []*Mistake{lineFeed, pairOfNumbers}},
		{"CryptoAPI", of(backwards), nil, []*Mistake{reversed}},
		{"hex", hex.EncodeToString(right), nil, []*Mistake{hexText}},
		{"hex of openssl", "SHA2-256(stdin)= " + hex.EncodeToString(right) + "\n", nil, []*Mistake{hexText}},
		{"base64 of base64", of([]byte(of(right))), nil, []*Mistake{twice}},
		{"base64 of hex", of([]byte(hex.EncodeToString(right) + "\n")), nil, []*Mistake{twice}},
		{"base64url, padded as the API does", withURLLetters, nil, []*Mistake{mixed}},
		{"spaces", " " + of(right) + " ", nil, []*Mistake{mixed}},
		{"percent-encoded", strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(of(right)), nil, []*Mistake{escaped}},
		{"no text", "not a signature!", nil, []*Mistake{noText}},
		{"last year's key", of(k.sign(k.old, hash, crypto.SHA256)), []*x509.Certificate{ofRSA, ofOld}, []*Mistake{expired}},
		{"next year's key", of(k.sign(k.old, hash, crypto.SHA256)), []*x509.Certificate{ofRSA, next}, []*Mistake{notYet}},
		{"another site's key", of(k.sign(k.old, hash, crypto.SHA256)), []*x509.Certificate{ofRSA, elsewhere}, []*Mistake{otherSite}},
		{"a key that nobody knows", of(k.sign(k.old, hash, crypto.SHA256)), nil, []*Mistake{otherKey}},
		{"an ECDSA key, and the certificate is RSA", of(k.sign(k.ec, hash, crypto.SHA256)), nil, []*Mistake{otherKey}},
		{"another file or key, ECDSA", of(k.sign(k.ec, "something else", crypto.SHA256)), []*x509.Certificate{ofEC}, []*Mistake{otherKeyOrText}},
		{"Ed25519", of(k.signDigest(ed, []byte(hash), crypto.Hash(0))), []*x509.Certificate{ofEd}, []*Mistake{unusable}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.certificates == nil {
				c.certificates = []*x509.Certificate{ofRSA}
			}
			q := Question{
				Site: site, Hash: hash, Text: c.text, Certificates: c.certificates, Names: []string{"a file.txt"}, Now: now,
				Digests: digests,
			}
			if sig, err := base64.StdEncoding.DecodeString(c.text); err == nil {
				q.Signature = sig
			}
			a := Explain(q)
			var got []string
			for _, m := range a.Mistakes {
				got, found[m] = append(got, m.What), true
			}
			if !slices.Equal(a.Mistakes, c.want) || a.Valid() != (c.want == nil) {
				t.Errorf("%q %q", got, a.Details)
			}
		})
	}
	for _, m := range All() {
		if !found[m] {
			t.Errorf("no case shows %q", m.What)
		}
	}
}

// The page for people has the table as it is here, row by row.
func TestTheTableIsInTheDocuments(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	row := func(m *Mistake) string {
		cell := strings.NewReplacer("|", `\|`).Replace
		return "\n| " + cell(m.What) + " | " + cell(m.Looks) + " | " + cell(m.Remedy) + " |\n"
	}
	at := 0
	for _, m := range All() {
		i := strings.Index(string(page[at:]), row(m))
		if i < 0 {
			t.Fatalf("docs/troubleshooting.md lacks this row, or has it at another place:%s", row(m))
		}
		at += i + 1
	}
}

// Whatever is asked, there is an answer, and it never says that a signature is right which the service refuses.
func FuzzExplain(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{site}, NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("", []byte(nil), "")
	f.Add("AAAA", make([]byte, 64), strings.Repeat("0", 64))
	f.Add("%3D%", []byte("0x"), "zz")
	f.Fuzz(func(t *testing.T, text string, sig []byte, hash string) {
		a := Explain(Question{Site: site, Hash: hash, Text: text, Signature: sig, Certificates: []*x509.Certificate{leaf}, Now: now})
		if a.Valid() {
			t.Fatal("a signature that nobody made is valid")
		}
	})
}
