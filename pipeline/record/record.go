package record

// Names, sizes and columns: what every stage must read and write in the same way.

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record/recordpb"
)

// Topics and consumer groups.
const (
	TopicUploads    = "uploads"
	TopicVerified   = "verified"
	TopicEvents     = "events"
	TopicDeadLetter = "deadletter"

	GroupVerify = "verify"
	GroupSink   = "sink"
)

const (
	// BatchSize is the number of pairs in a batch (docs/api.md). An upload's last batch may be shorter.
	BatchSize = 1000
	// MaxBytes bounds an encoded record, so that brokers with the stock message limit of 1 MiB take it.
	MaxBytes = 900 << 10
	// HashSize is the length of a SHA-256 in bytes.
	HashSize = 32
	// IDSize is the length of an attempt's or upload's identifier in bytes.
	IDSize = 16
	// ClientSize is the length in bytes of what stands for a client's address.
	ClientSize = 8
	// MaxPairs is how many pairs an upload can have: the position of a pair in its upload has 32 bits, and batches are
	// whole.
	MaxPairs = 1<<32 - BatchSize
	// MaxSignature is the longest signature that can be valid, in bytes: one by an RSA key of 8192 bits. A longer
	// signature is written to a record as an empty one.
	MaxSignature = 1024
	// MaxText bounds the text of an unparsed pair, and any reason, in bytes. With it, a batch in which every pair has
	// both fits a record.
	MaxText = 320
	// OutcomeShard stands in place of the shard where what verifying a batch found is stored: that belongs to no shard
	// of the hash space.
	OutcomeShard = -1
)

// Shard returns which of so many shards owns a key: a hash, or the UUID of an upload. The leading 32 bits of the key
// decide. Shard i owns the keys from i/shards to (i+1)/shards of the space, so that a shard is one range when rows are
// sorted by hash. len(key) must be at least 4.
func Shard(key []byte, shards int) int {
	return int(uint64(binary.BigEndian.Uint32(key)) * uint64(shards) >> 32)
}

// Batches returns the number of batches that an upload of so many pairs has.
func Batches(pairs uint64) int {
	return int((pairs + BatchSize - 1) / BatchSize)
}

// Position returns the position in its upload, from 0, of the pair at index within batch, which counts from 1.
func Position(batch uint32, index int) uint32 {
	return (batch-1)*BatchSize + uint32(index)
}

// Encode returns m's encoding. It can't fail: messages have no required fields, and every text
// is made valid UTF-8 before it is written into a record (see ValidText).
func Encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic("record: " + err.Error())
	}
	return b
}

// ValidText returns s as a string that a record may hold: invalid UTF-8 is replaced.
func ValidText(s string) string {
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Bit reports whether bit i of a bitmap is set. Bits past the bitmap's end are not set.
func Bit(bitmap []byte, i int) bool {
	return i>>3 < len(bitmap) && bitmap[i>>3]&(1<<(i&7)) != 0
}

// SetBit sets bit i of a bitmap for n items, and returns the bitmap. A nil bitmap is made first. So a bitmap in which
// no bit was ever set is nil, and takes no room in a record.
func SetBit(bitmap []byte, i, n int) []byte {
	for len(bitmap) < (n+7)/8 {
		bitmap = append(bitmap, 0)
	}
	bitmap[i>>3] |= 1 << (i & 7)
	return bitmap
}

// Uint16 returns the i-th number of a column of two-byte numbers.
func Uint16(column []byte, i int) int {
	return int(binary.LittleEndian.Uint16(column[2*i:]))
}

// AppendUint16 appends v to a column of two-byte numbers.
func AppendUint16(column []byte, v int) []byte {
	return binary.LittleEndian.AppendUint16(column, uint16(v))
}

const upperHex = "0123456789ABCDEF"

// AppendHexText appends a hash as the uploader wrote it, in upper or lower case. This text is what the uploader signed.
func AppendHexText(dst, hash []byte, upper bool) []byte {
	if !upper {
		return hex.AppendEncode(dst, hash)
	}
	for _, b := range hash {
		dst = append(dst, upperHex[b>>4], upperHex[b&15])
	}
	return dst
}

// HexText is AppendHexText as a string.
func HexText(hash []byte, upper bool) string {
	return string(AppendHexText(make([]byte, 0, 2*len(hash)), hash, upper))
}

// DeadLetter returns a record of topic deadletter. It names the record that can't be used, by topic, partition and
// offset, and says why.
func DeadLetter(topic string, partition int, offset int64, reason error) []byte {
	return Encode(&recordpb.DeadLetter{
		Topic: topic, Partition: int32(partition), Offset: offset, Reason: ValidText(reason.Error()),
	})
}

// ClientOf is what stands for the client that sent a chunk: the chunk says it, or the seal that the chunk carries. It
// is empty where it is not known, and in chunks of versions before the one that wrote it.
func ClientOf(c *recordpb.Chunk) []byte {
	if client := c.GetClient(); len(client) > 0 {
		return client
	}
	return c.GetSeal().GetClient()
}
