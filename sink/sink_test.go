package sink

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/pipeline/record/recordpb"
	"countersign/sink/store"
)

// Everything that is wrong with a configuration is reported at once.
func TestConfigProblems(t *testing.T) {
	err := Run(context.Background(), Config{MaxFlushRows: -1})
	for _, want := range []string{"Store", "Consume", "Send", "Shards", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v doesn't name %s", err, want)
		}
	}
}

// Metrics that can't be registered are an error, not a panic.
func TestMetricsAreTaken(t *testing.T) {
	c := newWorld(1).config()
	registry := prometheus.NewRegistry()
	c.Registerer = registry
	if _, err := newMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), "register metrics") {
		t.Errorf("Run: %v", err)
	}
}

// A consumer that gives up ends the stage with its error.
func TestConsumerFails(t *testing.T) {
	w := newWorld(1)
	c := w.config(0)
	c.Consume = func(context.Context, handler) error { return errInjected }
	if err := Run(context.Background(), c); !errors.Is(err, errInjected) {
		t.Errorf("Run: %v", err)
	}
	c.Consume = func(context.Context, handler) error { return nil }
	if err := Run(context.Background(), c); err == nil {
		t.Error("Run returned without an error though nobody asked it to end")
	}
}

// A lone record goes through at once: one insert of signatures, one of owners, one of outcomes, the event, the commit, in this order.
func TestLoneRecord(t *testing.T) {
	w := newWorld(1)
	r := start(t, w.config(0))
	w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 1, 7))))
	r.drain(w)
	r.end(w)
	// The event leaves beside the commit: either may be first.
	calls := slices.DeleteFunc(slices.Clone(w.calls), func(c string) bool { return c == "events 1" })
	if want := []string{"count 0", "scan 0", "signatures 1", "owners 1", "outcomes 1", "commit 0/1"}; !slices.Equal(calls, want) {
		t.Errorf("calls: %q\nwant:  %q", calls, want)
	}
	if len(w.events) != 1 || w.events[0].Added != 1 {
		t.Errorf("events: %v", w.events)
	}
}

// All columns of the rows that claims become; repeated hashes, in one record or in two, are
// duplicates of the first, and the signature of another site is kept.
func TestClaimsBecomeRows(t *testing.T) {
	w := newWorld(2)
	r := start(t, w.config(0, 1))
	h := func(n int) [32]byte { return hashOf(1, 2, n) }
	c := part(1, 3, 2, 10, h(1), h(2), h(1), h(3))
	c.Signers = append(c.Signers, &recordpb.Signer{Fingerprint: fingerprint(77), Algorithm: "P-256"})
	c.Signer = []byte{0, 1, 0, 1}
	w.produce(1, block(c, part(2, 1, 0, 0, h(9), h(2))))
	r.drain(w)
	r.end(w)

	want := map[[32]byte]hashRow{
		h(1): {uploadID(1), 2010, "site1.example", 1000, "RSA-2048", "signature 1/3/10", [32]byte(fingerprint(1)), false},
		h(2): {uploadID(1), 2011, "site1.example", 1000, "P-256", "signature 1/3/11", [32]byte(fingerprint(77)), false},
		h(3): {uploadID(1), 2013, "site1.example", 1000, "P-256", "signature 1/3/13", [32]byte(fingerprint(77)), false},
		h(9): {uploadID(2), 0, "site2.example", 2000, "RSA-2048", "signature 2/1/0", [32]byte(fingerprint(2)), true},
	}
	if !reflect.DeepEqual(w.hashes, want) {
		t.Errorf("hashes: %v\nwant:   %v", w.hashes, want)
	}
	entries := func(upper []byte, indexes []uint16, ns ...int) (e store.Entries) {
		for _, n := range ns {
			x := h(n)
			e.Hashes = append(e.Hashes, x[:]...)
		}
		e.Indexes, e.Upper = indexes, upper
		return e
	}
	wantResults := map[resultKey]store.ResultRow{
		{uploadID(1), 3, 1, 2}: {Upload: uploadID(1), Batch: 3, Shard: 1, Part: 2, Site: "site1.example", AcceptedAt: 1000,
			Certificates: []store.CertificateCount{{Fingerprint: [32]byte(fingerprint(1)), Added: 1, Duplicates: 1}, {Fingerprint: [32]byte(fingerprint(77)), Added: 2, Duplicates: 0}},
			Added:        entries(nil, []uint16{10, 11, 13}, 1, 2, 3), Duplicates: entries([]byte{1}, []uint16{12}, 1)},
		{uploadID(2), 1, 1, 0}: {Upload: uploadID(2), Batch: 1, Shard: 1, Site: "site2.example", AcceptedAt: 2000,
			Certificates: []store.CertificateCount{{Fingerprint: [32]byte(fingerprint(2)), Added: 1, Duplicates: 1}},
			Added:        entries([]byte{1}, []uint16{0}, 9), Duplicates: entries(nil, []uint16{1}, 2)},
	}
	if !reflect.DeepEqual(w.results, wantResults) {
		t.Errorf("results: %+v\nwant:    %+v", w.results, wantResults)
	}
	wantCosigners := map[cosignerKey]hashRow{
		{h(2), "site2.example"}: {uploadID(2), 1, "site2.example", 2000, "RSA-2048", "signature 2/1/1", [32]byte(fingerprint(2)), false},
	}
	if !reflect.DeepEqual(w.cosigners, wantCosigners) {
		t.Errorf("cosigners: %v\nwant:      %v", w.cosigners, wantCosigners)
	}
}

// An upload that was sent twice under one Idempotency-Key, and whose claims are in one record both times, has its
// result once: with the time of the first, which is the time of its signatures.
func TestTwinsInOneRecordHaveTheFirstOnesTime(t *testing.T) {
	w := newWorld(1)
	r := start(t, w.config(0))
	first, second := part(1, 1, 0, 0, hashOf(0, 1, 0), hashOf(0, 1, 1)), part(1, 1, 0, 0, hashOf(0, 1, 0), hashOf(0, 1, 1))
	second.AcceptedMs += 851
	w.produce(0, block(first, second))
	r.drain(w)
	r.end(w)
	if got := w.results[resultKey{uploadID(1), 1, 0, 0}]; got.AcceptedAt != first.AcceptedMs || got.Added.Len() != 2 {
		t.Errorf("the result is %+v", got)
	}
	if !slices.Contains(w.calls, "outcomes 1") {
		t.Errorf("calls: %q", w.calls)
	}
}

// What verifying found becomes a result of its own, beside the upload and the certificates; no hash is waited for.
func TestOutcomesBecomeRows(t *testing.T) {
	w := newWorld(1)
	r := start(t, w.config(0))
	id := uploadID(4)
	w.produce(0, outcomes(&recordpb.Outcomes{
		Outcomes: []*recordpb.Outcome{outcome(4, 2, 5)},
		Uploads:  []*recordpb.Accepted{{Upload: id[:], Site: "site4.example", Count: 1007, AcceptedMs: 4000}},
		Certificates: []*recordpb.Seen{
			{Site: "site4.example", Chain: &recordpb.Chain{Certificates: [][]byte{[]byte("leaf"), []byte("root")}}, SeenMs: 4001},
		},
	}))
	r.drain(w)
	r.end(w)
	want := store.ResultRow{Upload: id, Batch: 2, Shard: -1, AcceptedAt: 4000, Claims: 5,
		BadSignatures: store.Entries{Hashes: fingerprint(99), Indexes: []uint16{5}},
		Errors:        []store.Failure{{Index: 6, Text: "nonsense", Reason: "not a SHA-256"}},
		Failed:        store.Entries{Hashes: fingerprint(98), Indexes: []uint16{7}, Upper: []byte{1}},
		FailedReason:  "nobody home"}
	if got := w.results[keyOf(&want)]; !reflect.DeepEqual(got, want) {
		t.Errorf("result: %+v\nwant:   %+v", got, want)
	}
	if got, want := w.uploads[id], (store.Upload{ID: id, Site: "site4.example", Count: 1007, AcceptedAt: 4000}); got != want {
		t.Errorf("upload: %+v\nwant:   %+v", got, want)
	}
	wantChain := []store.Certificate{{Site: "site4.example", Chain: [][]byte{[]byte("leaf"), []byte("root")}, SeenAt: 4001}}
	if !reflect.DeepEqual(w.certificates, wantChain) {
		t.Errorf("certificates: %v\nwant:         %v", w.certificates, wantChain)
	}
	if len(w.events) != 1 {
		t.Fatalf("events: %v", w.events)
	}
	e := w.events[0]
	if e.Shard != -1 || e.Batch != 2 || e.Claims != 5 || e.BadSignatures != 1 || e.Errors != 2 || e.Reason != "not a SHA-256" {
		t.Errorf("event: %v", e)
	}
}

// A record that can't be read, or belongs elsewhere, is reported and passed over; its neighbours are stored.
func TestUndecodableRecord(t *testing.T) {
	w := newWorld(2)
	r := start(t, w.config(0, 1))
	w.produce(0, block(part(1, 1, 0, 0, hashOf(0, 2, 1))))
	w.produce(0, []byte("not a record"))
	w.produce(0, nil)
	w.produce(0, block(part(1, 2, 0, 0, hashOf(1, 2, 1))))
	w.produce(0, block(part(1, 3, 0, 0, hashOf(0, 2, 2))))
	r.drain(w)
	r.end(w)
	if len(w.hashes) != 2 || len(w.results) != 2 {
		t.Errorf("%d hashes, %d results, want 2 and 2", len(w.hashes), len(w.results))
	}
	if len(w.letters) != 3 {
		t.Fatalf("%d dead letters, want 3", len(w.letters))
	}
	for i, l := range w.letters {
		if l.Topic != "verified" || l.Partition != 0 || l.Offset != int64(i+1) || l.Reason == "" {
			t.Errorf("dead letter %d: %v", i, l)
		}
	}
	if !strings.Contains(w.letters[2].Reason, "shard 1 of 2") {
		t.Errorf("reason: %s", w.letters[2].Reason)
	}
}

// A restarted sink knows what is stored: claims of the stored owners are added again without a row, others are
// duplicates.
func TestReplayAfterRestart(t *testing.T) {
	w := newWorld(1)
	first := block(part(1, 1, 0, 0, hashOf(0, 1, 1), hashOf(0, 1, 2)))
	r := start(t, w.config(0))
	w.produce(0, first)
	r.drain(w)
	r.end(w)
	before := w.results[resultKey{uploadID(1), 1, 0, 0}]

	w.committed[0], w.calls = 0, nil
	r = start(t, w.config(0))
	w.produce(0, block(part(2, 1, 0, 0, hashOf(0, 1, 2))))
	r.drain(w)
	r.end(w)
	if got := w.results[resultKey{uploadID(1), 1, 0, 0}]; !reflect.DeepEqual(got, before) {
		t.Errorf("the replay's result: %+v\nwas: %+v", got, before)
	}
	if got := w.results[resultKey{uploadID(2), 1, 0, 0}]; got.Duplicates.Len() != 1 {
		t.Errorf("the other upload's result: %+v", got)
	}
	for _, c := range w.calls {
		if strings.HasPrefix(c, "signatures") || strings.HasPrefix(c, "owners") {
			t.Errorf("rows that are stored were written again: %q", w.calls)
		}
	}
}
