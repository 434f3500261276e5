package ingest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"countersign/ingest/internal/ingesttest"
	"countersign/sink/store"
)

// Every spelling of a list gets one answer: the hashes in their order, each with those who signed it.
func TestCheckListsOfHashes(t *testing.T) {
	h := start(t, func(c *Config) { c.Random = &counter{} })
	h.done(h.upload(site, pairs(0, 2, 8)))
	h.store.With(func(s *ingesttest.Store) {
		at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC).UnixMilli()
		also := store.CoSigners{Count: 12}
		for i := range 12 {
			also.First = append(also.First, store.SignedHash{Site: fmt.Sprintf("mirror%d.example", i), SignedAt: at + int64(i), Algorithm: "RSA-PKCS1-SHA256"})
		}
		s.Also[[32]byte{31: 2}] = also
	})
	signed, also, unknown := hashText(0), hashText(1), hashText(7)
	list := func(hashes ...string) string {
		text, err := json.Marshal(hashes)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := h.Do("POST", "/api/v1/check", list(signed, also, unknown, signed)).Body
	golden(t, "check", want)
	for _, body := range []string{
		" \n" + list(strings.ToUpper(signed), also, unknown, signed),
		"\ufeff" + list(signed, also, unknown, signed),
		strings.Join([]string{signed, also, unknown, signed}, "\n"),
		strings.Join([]string{"# mine", signed, "", also, unknown, signed, ""}, "\r\n"),
		fmt.Sprintf("%q\n%q\n%q\n%q\n", signed, also, unknown, signed),
		fmt.Sprintf("%s  a\n\\%s  b\\nc\nSHA256 (c) = %s\n%s *d\n", signed, also, unknown, signed),
	} {
		if got := h.Do("POST", "/api/v1/check", body); got.Status != 200 || got.Body != want {
			t.Errorf("%q: %d %s", body, got.Status, got.Body)
		}
	}
	for _, body := range []string{"", "\n", "[]", "# nothing"} {
		if got := h.Do("POST", "/api/v1/check", body).Body; got != "{\"checked\":0,\"signed\":0,\"hashes\":[\n]}\n" {
			t.Errorf("%q: %s", body, got)
		}
	}
}

func TestListsThatAreNone(t *testing.T) {
	h := start(t, nil)
	good := hashText(1)
	for body, element := range map[string]any{
		`["` + good + `","abc"]`:     1.0,
		`["` + good + `",7]`:         1.0,
		`{"hash":"` + good + `"}`:    nil,
		`["` + good:                  0.0,
		good + "\nabc":               1.0,
		good + " a":                  0.0,
		`"` + good:                   0.0,
		"a\x00b\x00\xff":             nil,
		"\n\n" + good[1:] + "  name": 2.0,
		good[:62] + "aA":             0.0,
	} {
		p := h.Problem(h.Do("POST", "/api/v1/check", body), 400, "malformed-hashes")
		if p["element"] != element {
			t.Errorf("%q: %v", body, p)
		}
	}
	many := strings.Repeat(good+"\n", maxChecked)
	if r := h.Do("POST", "/api/v1/check", many); r.Status != 200 || !strings.HasPrefix(r.Body, `{"checked":10000,"signed":0,`) {
		t.Errorf("%d %.200s", r.Status, r.Body)
	}
	p := h.Problem(h.Do("POST", "/api/v1/check", many+good), 413, "too-many-hashes")
	if p["limit"] != 10_000.0 || p["element"] != 10_000.0 {
		t.Error(p)
	}
	h.Problem(h.Do("POST", "/api/v1/check", "[\""+strings.Repeat("a", maxCheckBody)+"\"]"), 413, "body-too-large")
	p = h.Problem(h.Do("POST", "/api/v1/check", good+"  "+strings.Repeat("a", longestLine)), 400, "malformed-hashes")
	if p["element"] != 0.0 {
		t.Error(p)
	}
	h.Problem(h.Do("POST", "/api/v1/check", strings.Repeat("#\n", maxCheckBody/2+1)), 413, "body-too-large")
	h.store.With(func(s *ingesttest.Store) { s.Away = true })
	h.Problem(h.Do("POST", "/api/v1/check", good), 503, "store-unavailable")
}

// Pages of other origins may ask: the call changes nothing. Signing stays closed to them.
func TestPagesOfOtherOriginsMayCheck(t *testing.T) {
	h := start(t, nil)
	for method, want := range map[string]string{"POST": "", "OPTIONS": "POST"} {
		r := h.Do(method, "/api/v1/check", "[]", "Origin", "https://downloads.example")
		if r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Access-Control-Allow-Methods") != want {
			t.Errorf("%s: %v", method, r.Header)
		}
	}
	if r := h.Do("HEAD", "/api/v1/check", nil); r.Status != 405 {
		t.Errorf("HEAD: %d", r.Status)
	}
	if r := h.Do("OPTIONS", "/api/v1/sign/bank.example", nil); r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("signing: %v", r.Header)
	}
}
