package bench

// The sustained load on a database that is large already, over the same load on an empty one.

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"countersign/sink/store"
)

// large is the experiment.
func (s *session) large(ctx context.Context) error {
	if err := s.roomFor(s.Preload); err != nil {
		return err
	}
	_, before, empty, err := s.sustain(ctx, nil)
	if err != nil {
		return err
	}
	s.reportStretch(before, empty, "large.empty", "Sustained with nothing stored")
	_, c, full, err := s.sustain(ctx, s.preload)
	if err != nil {
		return err
	}
	stored := number(float64(s.Preload)) + " hashes stored"
	s.reportStretch(c, full, "large.full", "Sustained with "+stored)
	s.report.add(Figure{ID: "large.over-empty", Group: "Sustained with " + stored, Title: "hashes a second over those with none", Unit: "×",
		Samples: []float64{full.rate() / empty.rate()}, Target: atLeast(4, 0.9, 1), Beside: []string{"large.empty.rate", "large.full.rate"}})
	// Minutes lie between the two: what the machine did otherwise shows in the verifiers that ran beside each.
	s.report.add(Figure{ID: "large.over-empty-go", Group: "Sustained with " + stored, Title: "the same, each over Go's verifications around it", Unit: "×",
		Samples: ratios([]float64{full.rate() / summarize(c.std).Median}, []float64{empty.rate() / summarize(before.std).Median}),
		Beside:  []string{"large.empty.go", "large.full.go"}})
	return nil
}

// rowBytes is what a stored hash takes besides its signature, roughly.
const rowBytes = 80

// roomFor checks that the disk has room for some hashes, and for the merge of a part of them.
func (s *session) roomFor(hashes int) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.Cache, &fs); err != nil {
		return fmt.Errorf("look at the room under %s: %w", s.Cache, err)
	}
	need := 1.5 * float64(hashes) * float64(rowBytes+s.PreloadSignature)
	if have := float64(fs.Bavail) * float64(fs.Bsize); have < need {
		return fmt.Errorf("%s hashes need %.0f GB and %s has %.0f; use a smaller --preload or --preload-signature, or put --cache elsewhere",
			number(float64(hashes)), need/1e9, s.Cache, have/1e9)
	}
	return nil
}

const (
	preloadStep  = 2_000_000 // rows an insert
	mergeTimeout = 20 * time.Minute
)

// preload stores hashes behind the service's back, and restarts it, since it learns what is stored when it starts.
func (s *session) preload(ctx context.Context) error {
	err := s.withStore(ctx, func(db *store.DB) error {
		for from := 0; from < s.Preload; from += preloadStep {
			query := fmt.Sprintf(`INSERT INTO signed_hashes (hash, upload, position, site, signed_at, algorithm, signature, certificate)
				SELECT SHA256(concat('stored before ', toString(number))), toUUID('00000000-0000-0000-0000-000000000001'), toUInt32(number),
				'preload.bench.example', now64(3), 'bench', randomString(%d), SHA256('preload') FROM numbers(%d, %d)`,
				s.PreloadSignature, from, min(preloadStep, s.Preload-from))
			if err := db.Exec(ctx, query); err != nil {
				return fmt.Errorf("store hashes beforehand: %w", err)
			}
			if from/preloadStep%10 == 0 {
				s.say("storing hashes beforehand: %s of %s", number(float64(from+preloadStep)), number(float64(s.Preload)))
			}
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, s.server.alive())
	}
	s.say("waiting for the engine's merges, and for a restart of the service")
	if err := s.server.halt(); err != nil {
		return err
	}
	if err := s.server.start(ctx); err != nil {
		return err
	}
	for start := time.Now(); !settle(ctx); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Since(start) > mergeTimeout {
			s.report.note("The engine was still merging %s after the hashes were stored.", mergeTimeout)
			return nil
		}
	}
	return nil
}

// withStore gives f the private service's database.
func (s *session) withStore(ctx context.Context, f func(*store.DB) error) error {
	url, err := s.server.storeURL()
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Config{URL: url})
	if err != nil {
		return err
	}
	return errors.Join(f(db), db.Close())
}
