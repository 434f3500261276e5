package record

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"countersign/internal/hostname"
	"countersign/pipeline/record/recordpb"
)

func TestShardCoversEveryKeyInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := rapid.IntRange(1, 1024).Draw(t, "shards")
		a := rapid.SliceOfN(rapid.Byte(), HashSize, HashSize).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Byte(), HashSize, HashSize).Draw(t, "b")
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		sa, sb := Shard(a, shards), Shard(b, shards)
		if sa < 0 || sb >= shards || sa > sb {
			t.Fatalf("shards %d, %d of %d", sa, sb, shards)
		}
	})
}

func TestParseSite(t *testing.T) {
	long := strings.Repeat("a", 63)
	for in, want := range map[string]string{
		"example.com": "example.com", "EXAMPLE.com.": "example.com", "bücher.example": "xn--bcher-kva.example",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "localhost": "localhost", "a-b.c1": "a-b.c1",
		"1password.com": "1password.com", long + ".com": long + ".com",
		"": "", ".": "", "..": "", "a..b": "", ".a": "", "127.0.0.1": "", "1.2.3": "", "0x7f.1": "", "2130706433": "", "[::1]": "",
		"::1": "", "example.com:443": "", "https://example.com": "", "a_b.com": "", "-a.com": "", "a-.com": "", "a b.com": "",
		long + "a.com": "", strings.Repeat("a.", 127) + "com": "", "xn--a.com": "", "xn--zz--.com": "", "a\x00b.com": "", "user@example.com": "",
		"\xff.com": "", strings.Repeat("é", 5000): "", "％.com": "", "example.com/..": "", "１２７.0.0.1": "",
	} {
		got, err := ParseSite(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseSite(%.40q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzParseSite(f *testing.F) {
	for _, s := range []string{"example.com", "bücher.example", "127.0.0.1", "xn--bcher-kva.example.", "a_b", "[::1]:443"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		site, err := ParseSite(s)
		if err != nil {
			return
		}
		if again, err := ParseSite(site); err != nil || again != site {
			t.Fatalf("%q → %q → %q, %v", s, site, again, err)
		}
		if len(site) > hostname.MaxLength || strings.Trim(site, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			t.Fatalf("%q → %q", s, site)
		}
	})
}

// chunk returns a well-formed chunk of n pairs with two-byte signatures.
func chunk(n int) *recordpb.Chunk {
	return &recordpb.Chunk{
		Attempt: make([]byte, IDSize), Site: "example.com", Hashes: make([]byte, n*HashSize),
		Signatures: make([]byte, 2*n), SignatureLengths: bytes.Repeat([]byte{2, 0}, n),
	}
}

func seal(n uint64) *recordpb.Seal {
	return &recordpb.Seal{Attempt: make([]byte, IDSize), Upload: make([]byte, IDSize), Site: "example.com", Count: n, FirstOffset: -1}
}

func TestDecodeUploadRefusesWhatDoesNotHoldTogether(t *testing.T) {
	type mutate func(*recordpb.Chunk)
	for name, c := range map[string]struct {
		mutate mutate
		ok     bool
	}{
		"as made":                  {func(c *recordpb.Chunk) {}, true},
		"last of its batch":        {func(c *recordpb.Chunk) { c.First = 999*BatchSize + 990 }, true},
		"carries its seal":         {func(c *recordpb.Chunk) { c.Seal = seal(10) }, true},
		"across a batch":           {func(c *recordpb.Chunk) { c.First = 991 }, false},
		"no pairs":                 {func(c *recordpb.Chunk) { *c = recordpb.Chunk{Attempt: c.Attempt, Site: c.Site} }, false},
		"half a hash":              {func(c *recordpb.Chunk) { c.Hashes = c.Hashes[:40] }, false},
		"a signature short":        {func(c *recordpb.Chunk) { c.Signatures = c.Signatures[:19] }, false},
		"a length short":           {func(c *recordpb.Chunk) { c.SignatureLengths = c.SignatureLengths[:18] }, false},
		"bitmap too long":          {func(c *recordpb.Chunk) { c.Upper = make([]byte, 3) }, false},
		"unparsed past the end":    {func(c *recordpb.Chunk) { c.Unparsed = []*recordpb.Unparsed{{Index: 10}} }, false},
		"attempt short":            {func(c *recordpb.Chunk) { c.Attempt = c.Attempt[:15] }, false},
		"names its client":         {func(c *recordpb.Chunk) { c.Client = make([]byte, ClientSize) }, true},
		"client short":             {func(c *recordpb.Chunk) { c.Client = make([]byte, ClientSize-1) }, false},
		"client of its seal long":  {func(c *recordpb.Chunk) { c.Seal = seal(10); c.Seal.Client = make([]byte, ClientSize+1) }, false},
		"site not canonical":       {func(c *recordpb.Chunk) { c.Site = "Example.com" }, false},
		"seal counts differently":  {func(c *recordpb.Chunk) { c.Seal = seal(9) }, false},
		"a single signing of ten":  {func(c *recordpb.Chunk) { c.Seal = seal(10); c.Seal.Single = true }, false},
		"seal in the second chunk": {func(c *recordpb.Chunk) { c.Seal = seal(10); c.First = 10 }, false},
	} {
		m := chunk(10)
		c.mutate(m)
		_, err := DecodeUpload(Encode(&recordpb.Upload{Kind: &recordpb.Upload_Chunk{Chunk: m}}))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// claims returns well-formed claims of n pairs without signatures.
func claims(n int) *recordpb.Claims {
	c := &recordpb.Claims{
		Upload: make([]byte, IDSize), Batch: 1, Site: "example.com", Hashes: make([]byte, n*HashSize),
		SignatureLengths: make([]byte, 2*n), Signers: []*recordpb.Signer{{Fingerprint: make([]byte, HashSize)}},
	}
	for i := range n {
		c.Indexes = AppendUint16(c.Indexes, i+7)
	}
	return c
}

func encodeClaims(c *recordpb.Claims) []byte {
	return Encode(&recordpb.Verified{Kind: &recordpb.Verified_Block{Block: &recordpb.Block{Claims: []*recordpb.Claims{c}}}})
}

// event returns a well-formed event of a single signing.
func event() *recordpb.Event {
	return &recordpb.Event{Upload: make([]byte, IDSize), Batch: 1, Added: 1,
		Signed: &recordpb.Signed{Hash: make([]byte, HashSize), Site: "example.com", Certificate: make([]byte, HashSize)}}
}

func encodeEvent(e *recordpb.Event) []byte {
	return Encode(&recordpb.Events{Events: []*recordpb.Event{e}})
}

// A single signing is one claim. An event may bring the row that it added, whose columns have their sizes.
func TestDecodeRefusesSinglesThatAreNone(t *testing.T) {
	for n, ok := range []bool{false, true, false} {
		c := claims(n)
		c.Single = true
		if _, err := DecodeVerified(encodeClaims(c)); (err == nil) != ok {
			t.Errorf("a single signing of %d claims: %v", n, err)
		}
	}
	for name, c := range map[string]struct {
		mutate func(*recordpb.Event)
		ok     bool
	}{
		"as made":              {func(*recordpb.Event) {}, true},
		"without a row":        {func(e *recordpb.Event) { e.Signed = nil }, true},
		"hash short":           {func(e *recordpb.Event) { e.Signed.Hash = e.Signed.Hash[:31] }, false},
		"no hash":              {func(e *recordpb.Event) { e.Signed.Hash = nil }, false},
		"fingerprint too long": {func(e *recordpb.Event) { e.Signed.Certificate = make([]byte, 33) }, false},
		"upload short":         {func(e *recordpb.Event) { e.Upload = e.Upload[:15] }, false},
	} {
		e := event()
		c.mutate(e)
		if _, err := DecodeEvents(encodeEvent(e)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(&recordpb.Upload{Kind: &recordpb.Upload_Chunk{Chunk: chunk(3)}}))
	f.Add(Encode(&recordpb.Upload{Kind: &recordpb.Upload_Seal{Seal: seal(3)}}))
	f.Add(Encode(&recordpb.Upload{Kind: &recordpb.Upload_Decisions{Decisions: &recordpb.Decisions{
		Leaves: [][]byte{make([]byte, HashSize)}, ChainOffsets: []int64{7},
		Decisions: []*recordpb.Decision{{Upload: make([]byte, IDSize), Chains: []uint32{0}, Reached: 3, FailingReason: "away"}},
	}}}))
	f.Add(Encode(&recordpb.Verified{Kind: &recordpb.Verified_Outcomes{Outcomes: &recordpb.Outcomes{Outcomes: []*recordpb.Outcome{{
		Upload: make([]byte, IDSize), Batch: 1, FailedHashes: make([]byte, HashSize), FailedIndexes: []byte{1, 0}, FailedReason: "away",
	}}}}}))
	f.Add(Encode(&recordpb.Upload{Kind: &recordpb.Upload_Decisions{Decisions: &recordpb.Decisions{
		Chains:    []*recordpb.Chain{{Certificates: [][]byte{{1}}}},
		Decisions: []*recordpb.Decision{{Upload: make([]byte, IDSize), Chains: []uint32{0}}},
	}}}))
	f.Add(encodeClaims(claims(1)))
	f.Add(encodeEvent(event()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeUpload(b); err == nil {
			if c := m.GetChunk(); c != nil {
				walk(c.GetHashes(), c.GetUpper(), c.GetSignatures(), c.GetSignatureLengths())
			}
		}
		if m, err := DecodeVerified(b); err == nil {
			for _, c := range m.GetBlock().GetClaims() {
				walk(c.GetHashes(), c.GetUpper(), c.GetSignatures(), c.GetSignatureLengths())
			}
		}
		if m, err := DecodeEvents(b); err == nil {
			for _, e := range m.GetEvents() {
				if s := e.GetSigned(); s != nil {
					_, _ = [HashSize]byte(s.GetHash()), [HashSize]byte(s.GetCertificate())
				}
			}
		}
	})
}

func TestDecisionsThatDontHoldTogetherAreRefused(t *testing.T) {
	leaf, id := make([]byte, HashSize), make([]byte, IDSize)
	for name, d := range map[string]*recordpb.Decisions{
		"a leaf without an offset": {Leaves: [][]byte{leaf}},
		"a short leaf":             {Leaves: [][]byte{leaf[1:]}, ChainOffsets: []int64{0}},
		"a negative offset":        {Leaves: [][]byte{leaf}, ChainOffsets: []int64{-1}},
		"a chain behind the leaves": {Leaves: [][]byte{leaf}, ChainOffsets: []int64{0},
			Decisions: []*recordpb.Decision{{Upload: id, Chains: []uint32{1}}}},
		"a long reason": {Decisions: []*recordpb.Decision{{Upload: id, FailingReason: strings.Repeat("r", MaxText+1)}}},
	} {
		if _, err := DecodeUpload(Encode(&recordpb.Upload{Kind: &recordpb.Upload_Decisions{Decisions: d}})); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// walk reads columns as the stages do: it panics where validation let something through.
func walk(hashes, upper, signatures, lengths []byte) {
	at := 0
	for i := range len(hashes) / HashSize {
		_ = HexText(hashes[i*HashSize:(i+1)*HashSize], Bit(upper, i))
		at += len(signatures[at : at+Uint16(lengths, i)])
	}
}
