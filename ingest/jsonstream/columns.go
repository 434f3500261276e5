package jsonstream

// Columns: what a run of pairs looks like to the sink, and who owns its memory.

import "countersign/pipeline/record"

// BatchPairs is the number of consecutive pairs in a batch: the design's constant. No Columns
// crosses a multiple of it.
const BatchPairs = record.BatchSize

// MaxSignature is the length in bytes of the longest signature that can be valid: that of an
// 8192-bit RSA key. A longer one is kept as undecodable.
const MaxSignature = record.MaxSignature

// maxColumns is the size in bytes at which a run ends before its batch does. One more pair takes
// some 1.3 KB, so the 900 KiB of a Kafka record (design, "Records") hold any run and its framing.
const maxColumns = 800 << 10

// Columns holds consecutive pairs of an upload, all of one batch, column by column. There is at
// least one.
//
// The sink owns it, every slice included, and may keep it as long as it likes, on any goroutine. It
// may hand it back with Release; if it does so within the sink call, a whole upload gets by with
// one.
type Columns struct {
	First      int        // position (0-based) in the upload of the first pair
	Hashes     []byte     // 32 bytes a pair; zeros for an unparsed one
	Upper      []byte     // bit i%8 of byte i/8: hash i was sent in upper case; nil if none was
	Signatures []byte     // the decoded signatures, one after the other
	Lengths    []byte     // 2 bytes a pair, little endian: length in Signatures, 0 for what cannot be valid
	Unparsed   []Unparsed // the pairs whose hash is none, by rising index

	texts    int             // bytes in Unparsed's strings
	upperBuf []byte          // memory for Upper, kept over Release
	free     chan<- *Columns // where Release puts it; nil when it came from elsewhere
}

// Unparsed is a pair whose first string is no SHA-256 in hex. Its signature is dropped (length 0).
type Unparsed struct {
	Index  int    // within its Columns
	Text   string // the string as sent, valid UTF-8, shortened when over 256 bytes
	Reason string // what is wrong with it, for the user
}

// Len returns the number of pairs.
func (c *Columns) Len() int { return len(c.Lengths) / 2 }

// Release offers the memory for the runs to come. It is optional, may be called once, from any
// goroutine, and the Columns and its slices must not be touched afterwards. The strings of Unparsed
// stay valid.
func (c *Columns) Release() {
	if c.free == nil {
		return
	}
	select {
	case c.free <- c:
	default:
	}
}

// size is what the columns take in a record, nearly.
func (c *Columns) size() int {
	const perUnparsed = 16
	return len(c.Hashes) + len(c.Upper) + len(c.Signatures) + len(c.Lengths) + c.texts + perUnparsed*len(c.Unparsed)
}

// appendLength ends a pair: its hash and signature are in place.
func (c *Columns) appendLength(signature int) {
	c.Lengths = append(c.Lengths, byte(signature), byte(signature>>8))
}

// markUpper notes that the pair about to be ended was sent with an upper-case hash.
func (c *Columns) markUpper() {
	i := c.Len()
	if c.Upper == nil {
		c.Upper = c.upperBuf[:0]
	}
	c.growUpper(i + 1)
	c.Upper[i/8] |= 1 << (i % 8)
}

// growUpper makes the bitmap long enough for n pairs.
func (c *Columns) growUpper(n int) {
	for len(c.Upper) < (n+7)/8 {
		c.Upper = append(c.Upper, 0)
	}
}

// appendUnparsed ends a pair whose hash text is none.
func (c *Columns) appendUnparsed(text, reason string) {
	u := Unparsed{Index: c.Len(), Text: clip(text), Reason: reason}
	c.texts += len(u.Text) + len(u.Reason)
	c.Unparsed = append(c.Unparsed, u)
	c.Hashes = append(c.Hashes, make([]byte, 32)...)
	c.appendLength(0)
}

// reset empties the columns for a run that starts at position first.
func (c *Columns) reset(first int) {
	if c.Upper != nil {
		c.upperBuf = c.Upper
	}
	clear(c.Unparsed) // lets go of the strings
	c.First, c.texts, c.Upper = first, 0, nil
	c.Hashes, c.Signatures, c.Lengths = c.Hashes[:0], c.Signatures[:0], c.Lengths[:0]
	c.Unparsed = c.Unparsed[:0]
}

// columnsSize is how many bytes some columns held: an upload's runs are alike.
type columnsSize struct{ hashes, lengths, signatures int }

func newColumns(n columnsSize, free chan<- *Columns) *Columns {
	return &Columns{
		free:       free,
		Hashes:     make([]byte, 0, n.hashes),
		Lengths:    make([]byte, 0, n.lengths),
		Signatures: make([]byte, 0, n.signatures+signatureRoom),
	}
}
