package main

// The kinds of requests whose cost is measured. Each is as small as it can be with a figure that means something, and
// sends the same again in each round, with other hashes where they have to be new.

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"testing"

	"countersign/sink/store"
	"countersign/testsite"
)

const (
	rsaSite     = "rsa.example"
	p256Site    = "p256.example"
	p521Site    = "p521.example"
	cubeSite    = "rsa-8192-e3.example"
	slowSite    = "rsa-8192-slow.example"
	slowestRSA  = 1<<31 - 1 // exponent
	sitesAway   = 48        // whose connections are closed at once
	manyPairs   = 20_000
	placesHeld  = 64 // --max-uploads
	asyncCall   = "/api/v1/asyncsign/"
	syncCall    = "/api/v1/sign/"
	resultsCall = "/api/v1/resultasync/"
	hashCall    = "/api/v1/hash/"
)

func siteAway(i int) string { return fmt.Sprintf("www.away%d.example", i) }

// newMeter starts the service and its sites, and has each site seen once.
func newMeter(t *testing.T) *meter {
	t.Helper()
	m := &meter{t: t, world: newWorld(t), dataDir: t.TempDir(), rests: filepath.Join(t.TempDir(), "rest")}
	certificates := t.TempDir()
	for name, exponent := range map[string]int{cubeSite: 3, slowSite: slowestRSA} {
		site, err := m.ca.NewSite(name, testsite.SiteConfig{Keys: []crypto.Signer{newPublicOnly(t, exponent)}})
		must(t, err)
		_, err = site.WriteChain(certificates)
		must(t, err)
	}
	m.hangUp(t)
	m.signers = map[string]signer{
		rsaSite:  m.quickRSA(rsaSite),
		p256Site: m.ecdsa(p256Site),
		p521Site: m.site(p521Site, testsite.SiteConfig{Curve: elliptic.P521()}).SignTextECDSA,
	}
	m.node = startWith(t, []string{restSocket + "=" + m.rests}, append(m.args(), "--data-dir", m.dataDir,
		"--cert-dir", certificates, "--stall-timeout", "5m", "--upload-timeout", "5m")...)
	m.processors = descendants(m.PID())
	m.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: m.dial}}
	address, err := analystURL(m.dataDir)
	must(t, err)
	m.store, err = store.Open(t.Context(), store.Config{URL: address, ReadOnly: true})
	must(t, err)
	t.Cleanup(func() { _ = m.store.Close() })
	for site, sign := range m.signers {
		m.upload(site, good("first "+site, 1, sign))
	}
	for _, site := range []string{cubeSite, slowSite} {
		m.upload(site, unsigned(1, func() []byte { return randomRSA(8192) }))
	}
	m.thousand = m.upload(rsaSite, good("a thousand", 1000, m.signers[rsaSite])).String()
	m.settle()
	m.measureIdle()
	return m
}

// kinds are in the order of the table.
func (m *meter) kinds() []kind {
	return slices.Concat(m.goodUploads(), m.badUploads(), m.uploadsOfSitesAway(), m.compressedUploads(), m.brokenUploads(), m.calls(), m.reads())
}

func (m *meter) goodUploads() []kind {
	fresh := func(site string, n int) func(int) []entry {
		return func(round int) []entry { return good(fmt.Sprint(site, " new ", round), n, m.signers[site]) }
	}
	return []kind{
		m.bulk("an upload of 20,000 new hashes, RSA-2048", rsaSite, fresh(rsaSite, manyPairs)),
		m.bulk("the same again: 20,000 duplicates", rsaSite, func(int) []entry { return fresh(rsaSite, manyPairs)(0) }),
		m.bulk("an upload of 10,000 new hashes, P-256", p256Site, fresh(p256Site, 10_000)),
		m.bulk("an upload of one pair 20,000 times, RSA-2048", rsaSite, func(round int) []entry {
			return slices.Repeat(good(fmt.Sprint("repeated ", round), 1, m.signers[rsaSite]), manyPairs)
		}),
		{"an upload again under its `Idempotency-Key`", 1, func(round int) func() {
			key := http.Header{"Idempotency-Key": {fmt.Sprint("round-", round)}}
			text := body(good(fmt.Sprint("key ", round), manyPairs, m.signers[rsaSite]))
			m.request(http.MethodPost, asyncCall+rsaSite, text, key, http.StatusOK)
			m.settle()
			return func() { m.request(http.MethodPost, asyncCall+rsaSite, text, key, http.StatusOK) }
		}},
		m.many("an upload of one new hash, RSA-2048", 200, 4, http.StatusOK, func(round, i int) (string, []byte) {
			return asyncCall + rsaSite, body(good(fmt.Sprint("one ", round, i), 1, m.signers[rsaSite]))
		}),
		m.many("an upload of nothing, `[]`", 200, 4, http.StatusOK, func(int, int) (string, []byte) {
			return asyncCall + rsaSite, []byte("[]")
		}),
	}
}

func (m *meter) badUploads() []kind {
	bad := func(n int, signature func() []byte) func(int) []entry {
		return func(int) []entry { return unsigned(n, signature) }
	}
	return []kind{
		m.bulk("20,000 bad signatures, RSA-2048", rsaSite, bad(manyPairs, func() []byte { return randomRSA(2048) })),
		m.bulk("10,000 bad signatures, P-256", p256Site, bad(10_000, func() []byte { return randomECDSA(elliptic.P256()) })),
		m.bulk("400 bad signatures, P-521", p521Site, bad(400, func() []byte { return randomECDSA(elliptic.P521()) })),
		m.bulk("800 bad signatures, RSA-8192 with exponent 3", cubeSite, bad(800, func() []byte { return randomRSA(8192) })),
		m.bulk("200 bad signatures, RSA-8192 with exponent 2^31-1", slowSite, bad(200, func() []byte { return randomRSA(8192) })),
		m.bulk("20,000 pairs whose signature is no base64", rsaSite, func(int) []entry {
			entries := unsigned(manyPairs, func() []byte { return nil })
			for i := range entries {
				entries[i].signature = "?"
			}
			return entries
		}),
		m.bulk("20,000 pairs of empty texts", rsaSite, func(int) []entry { return make([]entry, manyPairs) }),
		m.many("an upload of one bad signature, P-256", 64, 16, http.StatusOK, func(int, int) (string, []byte) {
			return asyncCall + p256Site, body(unsigned(1, func() []byte { return randomECDSA(elliptic.P256()) }))
		}),
	}
}

func (m *meter) uploadsOfSitesAway() []kind {
	short := func() []byte { return []byte("AAA") }
	return []kind{
		m.bulk("20,000 pairs for a site that is away", siteAway(0), func(int) []entry { return unsigned(manyPairs, short) }),
		m.many("an upload of one pair for a site that is away, each of another domain", sitesAway, 16, http.StatusOK,
			func(_, i int) (string, []byte) { return asyncCall + siteAway(i), body(unsigned(1, short)) }),
	}
}

func (m *meter) compressedUploads() []kind {
	packed := func(name string, requests, status int, coding string, text func() []byte) kind {
		return kind{name, requests, func(int) func() {
			body, header := text(), http.Header{"Content-Encoding": {coding}}
			return func() {
				eachOf(requests, requests, func(int) { m.request(http.MethodPost, asyncCall+siteAway(0), body, header, status) })
			}
		}}
	}
	spaces := func() []byte { return append([]byte{'['}, bytes.Repeat([]byte{' '}, 16<<20)...) }
	same := func() []byte {
		return body(slices.Repeat(unsigned(1, func() []byte { return []byte("AAA") }), 200_000))
	}
	short := unsigned(1, func() []byte { return []byte("AAA") })[0]
	const tooLarge = http.StatusRequestEntityTooLarge
	return []kind{
		packed("zstd of 16 MiB of white space: refused", 32, tooLarge, "zstd", func() []byte { return packZstd(spaces()) }),
		packed("zstd of one pair 200,000 times: refused", 32, tooLarge, "zstd", func() []byte { return packZstd(same()) }),
		packed("gzip of 16 MiB of white space: refused", 32, tooLarge, "gzip", func() []byte { return packGzip(spaces()) }),
		packed("zstd of equal pairs that unfolds as far as it may, small", 16, http.StatusOK, "zstd", func() []byte { return unfolding(1, short) }),
		packed("zstd of equal pairs that unfolds as far as it may, large", 1, http.StatusOK, "zstd", func() []byte { return unfolding(2000, short) }),
		packed("zstd of empty texts that unfolds as far as it may", 1, http.StatusOK, "zstd", func() []byte { return unfolding(2000, entry{}) }),
	}
}

func (m *meter) brokenUploads() []kind {
	text := func() []byte { return body(unsigned(manyPairs, func() []byte { return randomRSA(2048) })) }
	head := "POST " + asyncCall + rsaSite + " HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
	return []kind{
		{"20,000 pairs, malformed at the end: refused", 1, func(int) func() {
			broken := text()
			broken[len(broken)-1] = '}'
			return func() { m.request(http.MethodPost, asyncCall+rsaSite, broken, nil, http.StatusBadRequest) }
		}},
		{"20,000 pairs, broken off at the end", 1, func(int) func() {
			broken := fmt.Appendf(nil, head+"%s", 100_000_000, text())
			return func() {
				c, err := m.dial(m.t.Context(), "tcp", m.API)
				must(m.t, err)
				_, err = c.Write(broken)
				must(m.t, err)
				must(m.t, c.Close())
				m.until("the body is given up", func() bool { return m.openUploads() == 0 })
			}
		}},
		{"an announced body that is too large: refused with 413", 200, func(int) func() {
			return func() {
				eachOf(200, 4, func(int) { m.converse(fmt.Sprintf(head, int64(1)<<40)+"[", http.StatusRequestEntityTooLarge) })
			}
		}},
		{"an upload while all places are taken: refused with 503", 32, func(int) func() {
			for range placesHeld {
				c, err := net.Dial("tcp", m.API)
				must(m.t, err)
				m.later = append(m.later, func() { _ = c.Close() })
				_, err = fmt.Fprintf(c, head+"[", 1000)
				must(m.t, err)
			}
			m.later = append(m.later, func() { m.until("all places are free", func() bool { return m.openUploads() == 0 }) })
			m.until("all places are taken", func() bool { return m.openUploads() == placesHeld })
			return func() {
				eachOf(32, 32, func(int) { m.converse(fmt.Sprintf(head, 1000)+"[", http.StatusServiceUnavailable) })
			}
		}},
	}
}

func (m *meter) calls() []kind {
	single := func(site string, e entry) (string, []byte) {
		return syncCall + site + "?" + url.Values{"hash": {e.hash}, "sig": {e.signature}}.Encode(), nil
	}
	known := good("called", 1, m.signers[rsaSite])[0]
	return []kind{
		m.many("a single signing, new, RSA-2048", 200, 4, http.StatusOK, func(round, i int) (string, []byte) {
			return single(rsaSite, good(fmt.Sprint("single ", round, i), 1, m.signers[rsaSite])[0])
		}),
		m.many("a single signing, duplicate", 200, 4, http.StatusOK, func(int, int) (string, []byte) { return single(rsaSite, known) }),
		m.many("a single signing, bad, P-256", 64, 64, http.StatusOK, func(int, int) (string, []byte) {
			return single(p256Site, unsigned(1, func() []byte { return randomECDSA(elliptic.P256()) })[0])
		}),
		m.many("a single signing for a site that is away, each of another domain", sitesAway, sitesAway, http.StatusBadGateway, func(_, i int) (string, []byte) {
			return single(siteAway(i), unsigned(1, func() []byte { return []byte("AAA") })[0])
		}),
		m.many("a synchronous call with 1,000 new hashes, RSA-2048, 8 at once", 8, 8, http.StatusOK, func(round, i int) (string, []byte) {
			return syncCall + rsaSite, body(good(fmt.Sprint("call ", round, i), 1000, m.signers[rsaSite]))
		}),
		m.many("a synchronous call with 1,000 pairs of empty texts, 8 at once", 8, 8, http.StatusOK, func(int, int) (string, []byte) {
			return syncCall + rsaSite, body(make([]entry, 1000))
		}),
	}
}

func (m *meter) reads() []kind {
	read := func(name string, requests, atOnce, status int, path func(i int) string) kind {
		return m.many(name, requests, atOnce, status, func(_, i int) (string, []byte) { return path(i), nil })
	}
	hash := good("a thousand", 1, m.signers[rsaSite])[0].hash
	var owner struct{ Certificate string }
	must(m.t, json.Unmarshal(m.request(http.MethodGet, hashCall+hash, nil, nil, http.StatusOK), &owner))
	unknown := sha256.Sum256([]byte("nobody signed this"))
	return []kind{
		read("a look-up of a known hash", 200, 4, http.StatusOK, func(int) string { return hashCall + hash }),
		read("a look-up of an unknown hash", 200, 4, http.StatusNotFound, func(i int) string {
			return hashCall + testsite.HexText(sha256.Sum256(fmt.Append(unknown[:], i)), false)
		}),
		read("a poll of a finished upload", 200, 4, http.StatusOK, func(int) string { return resultsCall + m.thousand }),
		read("a poll of an unknown upload", 64, 64, http.StatusNotFound, func(i int) string {
			return fmt.Sprintf("%s00000000-0000-4000-8000-%012d", resultsCall, i)
		}),
		read("the details of a batch of 1,000", 100, 4, http.StatusOK, func(int) string { return resultsCall + m.thousand + "/1" }),
		read("a certificate", 200, 4, http.StatusOK, func(int) string { return "/api/v1/certificate/" + owner.Certificate }),
		read("the web page", 200, 4, http.StatusOK, func(int) string { return "/" }),
		read("`/openapi.json`", 200, 4, http.StatusOK, func(int) string { return "/openapi.json" }),
		read("a path that there is not", 200, 4, http.StatusNotFound, func(i int) string { return fmt.Sprint("/no/", i) }),
	}
}
