package dedupe

// The filter is a chain of blocked Bloom filters. A block is one cache line of eight words; a hash sets one bit in each
// word of one block, so that a probe touches one line of memory in each link.
//
// False positives. At capacity a link holds 32 hashes a block on average, 16 bits a hash. A block with j of them has a
// word's bit set with probability 1-(63/64)^j, and says maybe to a stranger with the eighth power of that. j is
// Poisson(32), which gives
//
//	f = sum over j of Poisson(32; j) (1-(63/64)^j)^8 = 0.09 %
//
// for a full link, and less for one that still fills up. A full chain gets a link as large as all before it together,
// so n hashes that began with a first link for n0 need at most 1+ceil(log2(n/n0)) links, and the chain answers a
// stranger with maybe at most that many times f: 0.2 % after doubling once, 1.4 % for a shard that grew from minLink to
// four billion hashes while the filter lived. The next one that is built is a single link again.
//
// Memory: 2 bytes a hash of capacity. Loading leaves room for a quarter more (2.5 bytes a hash); a chain that has just
// grown is half empty (4 bytes a hash). A shard with few hashes has the minimum, 512 KiB.
//
// Rejected: cuckoo and xor filters (denser, but they can't grow or must be built whole); one filter that is rebuilt
// twice as large (it needs the hashes again, which only ClickHouse has).

const (
	bitsPerHash = 16
	blockBits   = 512
	minLink     = 1 << 18 // hashes
)

type block [blockBits / 64]uint64

type filter struct {
	links []link
	added uint64 // over all links; a hash added twice counts twice
}

type link struct {
	blocks []block
	room   uint64 // hashes until it is full
}

func newFilter(expected uint64) filter {
	return filter{links: []link{newLink(expected + expected/4)}}
}

func newLink(hashes uint64) link {
	hashes = max(hashes, minLink)
	return link{blocks: make([]block, hashes*bitsPerHash/blockBits), room: hashes}
}

// add makes has(m) true from now on.
func (f *filter) add(m mixed) {
	last := &f.links[len(f.links)-1]
	if last.room == 0 {
		f.links = append(f.links, newLink(f.added))
		last = &f.links[len(f.links)-1]
	}
	last.room--
	f.added++
	b := last.block(m)
	for i := range b {
		b[i] |= 1 << (m.b >> (6 * i) & 63)
	}
}

// has reports whether m may have been added; false is certain.
func (f *filter) has(m mixed) bool {
	for i := range f.links {
		if f.links[i].block(m).has(m.b) {
			return true
		}
	}
	return false
}

// touch reads a word of each block that ms fall into. Its result only keeps the reads from being optimised away.
func (f *filter) touch(ms []mixed) (sum uint64) {
	for i := range f.links {
		l := &f.links[i]
		for j := range ms {
			sum += l.block(ms[j])[0]
		}
	}
	return sum
}

// bytes is the memory of the filter.
func (f *filter) bytes() int {
	n := 0
	for i := range f.links {
		n += len(f.links[i].blocks) * (blockBits / 8)
	}
	return n
}

// block picks by the upper half of a: scaled rather than masked, so that a link needs no power of two.
func (l *link) block(m mixed) *block {
	return &l.blocks[(m.a>>32)*uint64(len(l.blocks))>>32]
}

// has has no branches: a miss is no more predictable than a hit, and all eight words are on the line that was just
// read.
func (b *block) has(s uint64) bool {
	return b[0]>>(s&63)&(b[1]>>(s>>6&63))&(b[2]>>(s>>12&63))&(b[3]>>(s>>18&63))&
		(b[4]>>(s>>24&63))&(b[5]>>(s>>30&63))&(b[6]>>(s>>36&63))&(b[7]>>(s>>42&63))&1 != 0
}
