package ingesttest

// ClickHouse in memory.

import (
	"context"
	"crypto/sha256"
	"sync"

	"github.com/google/uuid"

	"countersign/sink/store"
)

// Store is ClickHouse. Its fields may be used in With, and before anything else uses the store.
type Store struct {
	mu sync.Mutex

	Rows    map[uuid.UUID]store.Upload // of table uploads
	Results map[uuid.UUID][]store.BatchResult
	Signed  map[[32]byte]store.SignedHash
	Also    map[[32]byte]store.CoSigners
	Chain   store.Certificate // the only one

	Away     bool          // everything fails
	Failures int           // so many reads fail before the next succeeds
	Stuck    chan struct{} // inserts wait until it is closed
	Inserts  int
	Asked    int // for an upload or its progress
}

// NewStore makes an empty store.
func NewStore() *Store {
	return &Store{
		Rows: make(map[uuid.UUID]store.Upload), Results: make(map[uuid.UUID][]store.BatchResult),
		Signed: make(map[[32]byte]store.SignedHash), Also: make(map[[32]byte]store.CoSigners),
	}
}

// With reads or changes fields.
func (s *Store) With(change func(*Store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// unavailable is the error of a read.
func (s *Store) unavailable() error {
	if s.Failures > 0 {
		s.Failures--
		return store.ErrUnavailable
	}
	if s.Away {
		return store.ErrUnavailable
	}
	return nil
}

func (s *Store) Upload(_ context.Context, id uuid.UUID) (store.Upload, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Asked++
	up, ok := s.Rows[id]
	return up, ok, s.unavailable()
}

func (s *Store) Uploads(_ context.Context, ids []uuid.UUID) (map[uuid.UUID]store.Upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Asked++
	return known(s.Rows, ids), s.unavailable()
}

// Places is the number of ClickHouse shards.
func (s *Store) Places() int { return 1 }

func (s *Store) ProgressOf(_ context.Context, ids []uuid.UUID) (map[uuid.UUID][]store.BatchProgress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Asked++
	progress := make(map[uuid.UUID][]store.BatchProgress)
	for _, id := range ids {
		for i, r := range s.Results[id] {
			progress[id] = append(progress[id], store.BatchProgress{
				Batch: uint32(i + 1), Done: r.Done, Added: uint64(len(r.Added)), Duplicates: uint64(len(r.Duplicates)),
				BadSignatures: uint64(len(r.BadSignatures)), Errors: uint64(len(r.Errors)),
			})
		}
	}
	return progress, s.unavailable()
}

// known are the rows of those keys that have one.
func known[K comparable, V any](rows map[K]V, keys []K) map[K]V {
	found := make(map[K]V)
	for _, k := range keys {
		if row, ok := rows[k]; ok {
			found[k] = row
		}
	}
	return found
}

func (s *Store) Batch(_ context.Context, id uuid.UUID, batch uint32) (store.BatchResult, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := s.Results[id]
	if int(batch) > len(results) {
		return store.BatchResult{}, false, s.unavailable()
	}
	return results[batch-1], true, s.unavailable()
}

func (s *Store) Hashes(_ context.Context, hashes [][32]byte) (map[[32]byte]store.SignedHash, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return known(s.Signed, hashes), s.unavailable()
}

func (s *Store) CoSigners(_ context.Context, hashes [][32]byte) (map[[32]byte]store.CoSigners, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return known(s.Also, hashes), s.unavailable()
}

func (s *Store) Signers(_ context.Context, hashes [][32]byte) (map[[32]byte]store.Signers, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	signers := make(map[[32]byte]store.Signers)
	for hash, owner := range known(s.Signed, hashes) {
		owner.Signature = nil
		also := s.Also[hash]
		also.First = also.First[:min(len(also.First), store.MostNamed)]
		signers[hash] = store.Signers{Owner: owner, Also: also}
	}
	return signers, s.unavailable()
}

func (s *Store) Certificate(_ context.Context, fingerprint [32]byte) (store.Certificate, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Chain, len(s.Chain.Chain) > 0 && sha256.Sum256(s.Chain.Chain[0]) == fingerprint, s.unavailable()
}

func (s *Store) InsertUploads(ctx context.Context, rows []store.Upload) error {
	s.mu.Lock()
	stuck := s.Stuck
	s.Inserts++
	s.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Away {
		return store.ErrUnavailable
	}
	for _, row := range rows {
		if first, ok := s.Rows[row.ID]; !ok || row.AcceptedAt < first.AcceptedAt { // as table uploads does
			s.Rows[row.ID] = row
		}
	}
	return nil
}
