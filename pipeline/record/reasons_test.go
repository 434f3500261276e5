package record

import (
	"bytes"
	"slices"
	"testing"

	"countersign/pipeline/record/recordpb"
)

// Reasons that repeat take no room in a record, and are there again after it was decoded.
func TestEqualReasonsAreWrittenOnce(t *testing.T) {
	want := []string{"one", "one", "two", "one", "one"}
	id := bytes.Repeat([]byte{1}, 16)
	chunk := &recordpb.Chunk{
		Attempt: id, Site: "a.example",
		Hashes: make([]byte, len(want)*HashSize), SignatureLengths: make([]byte, 2*len(want)),
	}
	outcome := &recordpb.Outcome{Upload: id, Batch: 1}
	var unparsed, failures Reasons
	written := 0
	for i, reason := range want {
		u := &recordpb.Unparsed{Index: uint32(i), Text: "x", Reason: unparsed.Shorten(reason)}
		f := &recordpb.Failure{Index: uint32(i), Text: "x", Reason: failures.Shorten(reason)}
		if u.Reason != "" {
			written++
		}
		chunk.Unparsed, outcome.Failures = append(chunk.Unparsed, u), append(outcome.Failures, f)
	}
	if written != 3 {
		t.Errorf("%d reasons were written, want 3", written)
	}
	upload, err := DecodeUpload(Encode(&recordpb.Upload{Kind: &recordpb.Upload_Chunk{Chunk: chunk}}))
	if err != nil {
		t.Fatal(err)
	}
	verified, err := DecodeVerified(Encode(&recordpb.Verified{
		Kind: &recordpb.Verified_Outcomes{Outcomes: &recordpb.Outcomes{Outcomes: []*recordpb.Outcome{outcome}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	var got [2][]string
	for _, u := range upload.GetChunk().GetUnparsed() {
		got[0] = append(got[0], u.GetReason())
	}
	for _, f := range verified.GetOutcomes().GetOutcomes()[0].GetFailures() {
		got[1] = append(got[1], f.GetReason())
	}
	for _, list := range got {
		if !slices.Equal(list, want) {
			t.Errorf("decoded %q, want %q", list, want)
		}
	}
}
