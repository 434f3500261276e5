package record

// Decoding and validation of records. Any program that may write to the brokers can write any bytes (I7). A record that
// does not hold together is an error here, so that no stage ever meets an index out of range.

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record/recordpb"
)

// ErrInvalid is wrapped by every error of this package's decoders.
var ErrInvalid = errors.New("invalid record")

// DecodeUpload decodes and validates a record of topic uploads. b is not retained.
func DecodeUpload(b []byte) (*recordpb.Upload, error) {
	m := new(recordpb.Upload)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var err error
	switch kind := m.Kind.(type) {
	case *recordpb.Upload_Chunk:
		err = checkChunk(kind.Chunk)
		fillReasons(kind.Chunk.GetUnparsed(), reasonOfUnparsed)
	case *recordpb.Upload_Seal:
		err = checkSeal(kind.Seal)
	case *recordpb.Upload_Abort:
		err = checkID("attempt", kind.Abort.GetAttempt())
	case *recordpb.Upload_Decisions:
		err = checkDecisions(kind.Decisions)
	default:
		err = errors.New("holds no known kind")
	}
	return m, invalid("uploads", err)
}

// DecodeVerified decodes and validates a record of topic verified. b is not retained.
func DecodeVerified(b []byte) (*recordpb.Verified, error) {
	m := new(recordpb.Verified)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var err error
	switch kind := m.Kind.(type) {
	case *recordpb.Verified_Block:
		err = each("claims", kind.Block.GetClaims(), checkClaims)
	case *recordpb.Verified_Outcomes:
		o := kind.Outcomes
		err = errors.Join(each("outcome", o.GetOutcomes(), checkOutcome),
			each("upload", o.GetUploads(), func(a *recordpb.Accepted) error { return checkID("upload", a.GetUpload()) }),
			each("certificate", o.GetCertificates(), func(s *recordpb.Seen) error { return checkChain(s.GetChain()) }))
		for _, x := range o.GetOutcomes() {
			fillReasons(x.GetFailures(), reasonOfFailure)
		}
	default:
		err = errors.New("holds no known kind")
	}
	return m, invalid("verified", err)
}

// DecodeEvents decodes and validates a record of topic events. b is not retained.
func DecodeEvents(b []byte) (*recordpb.Events, error) {
	m := new(recordpb.Events)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return m, invalid("events", each("event", m.GetEvents(), checkEvent))
}

func invalid(topic string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w of topic %s: %w", ErrInvalid, topic, err)
}

// each applies check to items; the error says which one failed.
func each[T any](name string, items []T, check func(T) error) error {
	for i, item := range items {
		if err := check(item); err != nil {
			return fmt.Errorf("%s %d: %w", name, i, err)
		}
	}
	return nil
}

func checkChunk(c *recordpb.Chunk) error {
	n := len(c.GetHashes()) / HashSize
	err := errors.Join(checkID("attempt", c.GetAttempt()), checkClient(c.GetClient()),
		checkPairs(n, c.GetHashes(), c.GetUpper(), c.GetSignatures(), c.GetSignatureLengths()))
	if err != nil {
		return err
	}
	if first := int(c.GetFirst() % BatchSize); n == 0 || first+n > BatchSize {
		return fmt.Errorf("%d pairs from position %d don't fit into one batch", n, c.GetFirst())
	}
	for _, u := range c.GetUnparsed() {
		if int(u.GetIndex()) >= n {
			return fmt.Errorf("unparsed pair %d of %d", u.GetIndex(), n)
		}
		if len(u.GetText()) > MaxText || len(u.GetReason()) > MaxText {
			return fmt.Errorf("unparsed pair %d has a text of %d bytes and a reason of %d",
				u.GetIndex(), len(u.GetText()), len(u.GetReason()))
		}
	}
	s := c.GetSeal()
	if s == nil {
		return checkSite(c.GetSite())
	}
	if s.GetCount() != uint64(n) || c.GetFirst() != 0 {
		return fmt.Errorf("seal of %d pairs in a chunk of %d from position %d", s.GetCount(), n, c.GetFirst())
	}
	return checkSeal(s)
}

func checkSeal(s *recordpb.Seal) error {
	if s.GetSingle() && s.GetCount() != 1 {
		return fmt.Errorf("a single signing of %d pairs", s.GetCount())
	}
	if s.GetCount() > MaxPairs {
		return fmt.Errorf("count %d is too large", s.GetCount())
	}
	return errors.Join(checkClient(s.GetClient()), checkID("attempt", s.GetAttempt()), checkID("upload", s.GetUpload()),
		checkSite(s.GetSite()))
}

func checkDecisions(d *recordpb.Decisions) error {
	if len(d.GetChainOffsets()) != len(d.GetLeaves()) {
		return fmt.Errorf("%d leaves with %d offsets", len(d.GetLeaves()), len(d.GetChainOffsets()))
	}
	for _, offset := range d.GetChainOffsets() {
		if offset < 0 {
			return fmt.Errorf("a chain at offset %d", offset)
		}
	}
	err := errors.Join(each("chain", d.GetChains(), checkChain), each("leaf", d.GetLeaves(), checkFingerprint))
	chains := len(d.GetChains()) + len(d.GetLeaves())
	return errors.Join(err, each("decision", d.GetDecisions(), func(x *recordpb.Decision) error {
		for _, i := range x.GetChains() {
			if int(i) >= chains {
				return fmt.Errorf("names chain %d of %d", i, chains)
			}
		}
		if len(x.GetReason()) > MaxText || len(x.GetFailingReason()) > MaxText {
			return fmt.Errorf("a reason of %d bytes and one of %d", len(x.GetReason()), len(x.GetFailingReason()))
		}
		return checkID("upload", x.GetUpload())
	}))
}

func checkClaims(c *recordpb.Claims) error {
	n := len(c.GetHashes()) / HashSize
	err := errors.Join(checkID("upload", c.GetUpload()), checkBatch(c.GetBatch()), checkSite(c.GetSite()),
		checkPairs(n, c.GetHashes(), c.GetUpper(), c.GetSignatures(), c.GetSignatureLengths()),
		checkIndexes(n, c.GetIndexes()))
	if err != nil {
		return err
	}
	if c.GetSingle() && n != 1 {
		return fmt.Errorf("a single signing of %d claims", n)
	}
	if len(c.GetSigners()) == 0 || len(c.GetSigner()) != 0 && len(c.GetSigner()) != n {
		return fmt.Errorf("%d signers, %d references to them, %d claims", len(c.GetSigners()), len(c.GetSigner()), n)
	}
	for _, s := range c.GetSigner() {
		if int(s) >= len(c.GetSigners()) {
			return fmt.Errorf("names signer %d of %d", s, len(c.GetSigners()))
		}
	}
	return each("signer", c.GetSigners(), func(s *recordpb.Signer) error {
		return checkFingerprint(s.GetFingerprint())
	})
}

func checkFingerprint(f []byte) error {
	if len(f) != HashSize {
		return fmt.Errorf("fingerprint has %d bytes", len(f))
	}
	return nil
}

func checkOutcome(o *recordpb.Outcome) error {
	n, failed := len(o.GetBadHashes())/HashSize, len(o.GetFailedHashes())/HashSize
	err := errors.Join(checkID("upload", o.GetUpload()), checkBatch(o.GetBatch()),
		checkHashes(n, o.GetBadHashes(), o.GetBadUpper()), checkIndexes(n, o.GetBadIndexes()),
		checkHashes(failed, o.GetFailedHashes(), o.GetFailedUpper()), checkIndexes(failed, o.GetFailedIndexes()))
	if err != nil {
		return err
	}
	if total := n + failed + len(o.GetFailures()) + int(o.GetClaims()); total > BatchSize {
		return fmt.Errorf("%d pairs in a batch", total)
	}
	return each("failure", o.GetFailures(), func(f *recordpb.Failure) error {
		if f.GetIndex() >= BatchSize {
			return fmt.Errorf("index %d in a batch", f.GetIndex())
		}
		return nil
	})
}

func checkEvent(e *recordpb.Event) error {
	if s := e.GetSigned(); s != nil && (len(s.GetHash()) != HashSize || len(s.GetCertificate()) != HashSize) {
		return fmt.Errorf("a signed hash of %d bytes, its certificate's of %d", len(s.GetHash()), len(s.GetCertificate()))
	}
	return checkID("upload", e.GetUpload())
}

func checkPairs(n int, hashes, upper, signatures, lengths []byte) error {
	if err := checkHashes(n, hashes, upper); err != nil {
		return err
	}
	if len(lengths) != 2*n {
		return fmt.Errorf("%d bytes of signature lengths for %d pairs", len(lengths), n)
	}
	sum := 0
	for i := range n {
		sum += Uint16(lengths, i)
	}
	if sum != len(signatures) {
		return fmt.Errorf("%d bytes of signatures, their lengths say %d", len(signatures), sum)
	}
	return nil
}

func checkHashes(n int, hashes, upper []byte) error {
	if len(hashes) != n*HashSize || n > BatchSize {
		return fmt.Errorf("%d bytes of hashes", len(hashes))
	}
	if len(upper) > (n+7)/8 {
		return fmt.Errorf("a bitmap of %d bytes for %d hashes", len(upper), n)
	}
	return nil
}

func checkIndexes(n int, indexes []byte) error {
	if len(indexes) != 2*n {
		return fmt.Errorf("%d bytes of indexes for %d pairs", len(indexes), n)
	}
	last := -1
	for i := range n {
		x := Uint16(indexes, i)
		if x <= last || x >= BatchSize {
			return fmt.Errorf("index %d after %d", x, last)
		}
		last = x
	}
	return nil
}

func checkBatch(b uint32) error {
	if b == 0 || b > (1<<32-1)/BatchSize {
		return fmt.Errorf("batch %d", b)
	}
	return nil
}

func checkChain(c *recordpb.Chain) error {
	if len(c.GetCertificates()) == 0 {
		return errors.New("a chain without certificates")
	}
	return nil
}

func checkID(name string, id []byte) error {
	if len(id) != IDSize {
		return fmt.Errorf("%s has %d bytes, not %d", name, len(id), IDSize)
	}
	return nil
}

// checkClient accepts none, too: the client is not known, or the record is of a version that wrote none.
func checkClient(client []byte) error {
	if n := len(client); n != 0 && n != ClientSize {
		return fmt.Errorf("a client of %d bytes", n)
	}
	return nil
}

func checkSite(s string) error {
	if ascii, err := ParseSite(s); err != nil || ascii != s {
		return fmt.Errorf("site %q is not in its canonical form", s)
	}
	return nil
}
