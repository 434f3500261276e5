package client

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Any number of hashes are asked about, so many a request, and the answers come in their order.
func TestCheckManyHashes(t *testing.T) {
	hashes := make([][32]byte, MaxChecked+3)
	for i := range hashes {
		hashes[i] = [32]byte{byte(i), byte(i >> 8)}
	}
	answer := func(from, n int) http.HandlerFunc {
		var lines []string
		for _, hash := range hashes[from : from+n] {
			lines = append(lines, fmt.Sprintf(`{"hash":"%x","signed":true,"site":"bank.example"}`, hash))
		}
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			fmt.Fprintf(w, `{"checked":%d,"signed":%d,"hashes":[%s]}`, n, n, strings.Join(lines, ","))
		}
	}
	f := newFake(t, answer(0, MaxChecked), answer(MaxChecked, 3))
	c, _ := newTestClient(t, f.URL)
	got, err := c.Check(t.Context(), hashes)
	if err != nil || len(got) != len(hashes) {
		t.Fatal(len(got), err)
	}
	for i, s := range got {
		if by, ok := s.By("bank.example"); s.Hash != hex.EncodeToString(hashes[i][:]) || !s.Signed || !ok || by.Site != "bank.example" {
			t.Fatalf("number %d: %+v", i, s)
		}
	}
	requests := f.requests()
	if len(requests) != 2 || strings.Count(requests[0].body, "\n") != MaxChecked || strings.Count(requests[1].body, "\n") != 3 {
		t.Errorf("%d requests", len(requests))
	}
	if _, err := c.Check(t.Context(), hashes[:5]); err == nil || !strings.Contains(err.Error(), "is about 3 hashes, and 5 were sent") {
		t.Errorf("an answer about others: %v", err)
	}
}

// That nobody has signed a hash is an answer, and another 404 is not.
func TestHashThatNobodySigned(t *testing.T) {
	f := newFake(t, problem(http.StatusNotFound, `,"type":"/problems/unknown-hash"`), problem(http.StatusNotFound, `,"type":"/problems/not-found"`))
	c, _ := newTestClient(t, f.URL)
	if s, err := c.Hash(t.Context(), [32]byte{1}); err != nil || s.Signed || s.Hash != hex.EncodeToString(append([]byte{1}, make([]byte, 31)...)) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Hash(t.Context(), [32]byte{1}); err == nil {
		t.Error("another 404 means that nobody has signed it")
	}
}
