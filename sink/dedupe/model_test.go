package dedupe

import (
	"fmt"

	"github.com/google/uuid"
)

// What must hold, as a program: one map, walked once, in the order of the log. And around the Table the least of a sink
// stage that can go wrong in every way the real one can: reads of any size, flushes at any moment, crashes between any
// two steps, old owners that go on writing, records that are in the log twice.

// claims is one record of the log: claims of one part of one batch, with the key that its row of results has.
type claims struct {
	key       string
	upload    uuid.UUID
	site      uint64
	hashes    [][HashSize]byte
	positions []uint32
}

func (c *claims) claim(i int) Owner { return Owner{c.upload, c.positions[i], c.site} }

func (c *claims) columns() (all []byte) {
	for _, h := range c.hashes {
		all = append(all, h[:]...)
	}
	return all
}

// results are the verdicts of one record: added, duplicate of a hash of the same site's, cosigned.
type results string

func (r *results) append(added, sameSite bool) {
	switch {
	case added:
		*r += "a"
	case sameSite:
		*r += "d"
	default:
		*r += "c"
	}
}

// model is the oracle: owners and results of a whole log.
func model(log []claims) (map[[HashSize]byte]Owner, map[string]results) {
	owners, all := map[[HashSize]byte]Owner{}, map[string]results{}
	for _, c := range log {
		var r results
		for i, h := range c.hashes {
			if _, ok := owners[h]; !ok {
				owners[h] = c.claim(i)
			}
			r.append(owners[h] == c.claim(i), owners[h].Site == c.site)
		}
		all[c.key] = r
	}
	return owners, all
}

// store stands for ClickHouse, and notices a row that contradicts one written before.
type store struct {
	owners    map[[HashSize]byte]Owner
	results   map[string]results
	committed int
	conflict  error
}

func newStore() *store {
	return &store{owners: map[[HashSize]byte]Owner{}, results: map[string]results{}}
}

func (s *store) insert(u *unit) {
	for _, r := range u.rows {
		if was, ok := s.owners[r.hash]; ok && was != r.owner {
			s.conflict = fmt.Errorf("hash %x was stored for %v and again for %v", r.hash[:2], was, r.owner)
		}
		s.owners[r.hash] = r.owner
	}
	for key, r := range u.results {
		if was, ok := s.results[key]; ok && was != r {
			s.conflict = fmt.Errorf("result %s was stored as %s and again as %s", key, was, r)
		}
		s.results[key] = r
	}
}

// process is one owner of the shard, from its assignment on.
type process struct {
	store *store
	log   []claims
	table *Table
	next  int // offset to read
	queue []*unit
	asked int // hashes looked up so far
}

// unit is what came of one run and is written together.
type unit struct {
	rows    []row
	results map[string]results
	next    int
}

func (s *store) assign(log []claims, recent int, key byte) *process {
	p := &process{store: s, log: log, next: s.committed,
		table: New(Config{ExpectedHashes: uint64(len(s.owners)), Key: [16]byte{key}, Recent: recent})}
	for h := range s.owners {
		p.table.Load(h[:])
	}
	return p
}

// read resolves the next n records as one run, and flushes some units before each of its records.
func (p *process) read(n, units int) {
	run := p.log[p.next:min(p.next+n, len(p.log))]
	var ask []byte
	for _, c := range run {
		ask = p.table.Probe(c.columns(), ask)
	}
	stored := map[[HashSize]byte]Owner{}
	for ; len(ask) > 0; ask = ask[HashSize:] {
		p.asked++
		if owner, ok := p.store.owners[[HashSize]byte(ask)]; ok {
			stored[[HashSize]byte(ask)] = owner
		}
	}
	u := &unit{results: map[string]results{}, next: p.next + len(run)}
	for _, c := range run {
		p.flush(units)
		var r results
		lookup := func(hash []byte) (Owner, bool) {
			owner, ok := stored[[HashSize]byte(hash)]
			return owner, ok
		}
		for i, v := range p.table.Resolve(c.columns(), c.upload, c.site, c.positions, lookup, nil) {
			if v == Added {
				u.rows = append(u.rows, row{c.hashes[i], c.claim(i)})
			}
			r.append(!v.IsDuplicate(), v == Duplicate)
			if _, ok := p.store.owners[c.hashes[i]]; v.IsDuplicate() && !ok && !p.table.MetUnconfirmed() {
				p.store.conflict = fmt.Errorf("hash %x has an owner that isn't stored, and the table doesn't say so", c.hashes[i][:2])
			}
		}
		u.results[c.key] = r
	}
	p.next, p.queue = u.next, append(p.queue, u)
}

// write stores the n oldest units that wait, and leaves them waiting: the answer hasn't arrived.
func (p *process) write(n int) {
	for _, u := range p.queue[:min(n, len(p.queue))] {
		p.store.insert(u)
	}
}

// flush writes n units and hears that they are stored.
func (p *process) flush(n int) (next int) {
	p.write(n)
	n = min(n, len(p.queue))
	for _, u := range p.queue[:n] {
		p.table.Confirm(len(u.rows))
		next = u.next
	}
	p.queue = p.queue[n:]
	return next
}
