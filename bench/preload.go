package bench

// Rows for the experiment large. They go straight into the private service's ClickHouse: through the service, a hundred
// million hashes would take a quarter of an hour, and their signatures would have to be made. This is the only place
// where the load generator touches the service other than over HTTP; TestBenchRuns of cmd/countersign-bench holds the
// statement to the schema.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"countersign/sink/store"
)

const (
	preloadStep  = 2_000_000 // rows an insert
	mergeTimeout = 20 * time.Minute
)

// preload stores hashes behind the service's back, and restarts it, since it learns what is stored when it starts.
func (s *session) preload(ctx context.Context) error {
	at := time.Now().UTC().Format("2006-01-02 15:04:05.000") // one time: an owner has that of its signature
	err := s.withStore(ctx, func(db *store.DB) error {
		for from := 0; from < s.Preload; from += preloadStep {
			for _, table := range []struct{ name, columns, values string }{
				{"signatures", ", algorithm, signature, certificate", fmt.Sprintf(", 'bench', randomString(%d), SHA256('preload')", s.PreloadSignature)},
				{"owners", "", ""},
			} {
				query := fmt.Sprintf(`INSERT INTO %s (hash, upload, position, site, signed_at%s)
					SELECT SHA256(concat('stored before ', toString(number))), toUUID('00000000-0000-0000-0000-000000000001'), toUInt32(number),
					'preload.bench.example', toDateTime64('%s', 3, 'UTC')%s FROM numbers(%d, %d)`,
					table.name, table.columns, at, table.values, from, min(preloadStep, s.Preload-from))
				if err := db.Exec(ctx, query); err != nil {
					return fmt.Errorf("store hashes beforehand: %w", err)
				}
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
	if err := s.server.restart(ctx); err != nil {
		return err
	}
	for start := time.Now(); !s.Quick && !settle(ctx); { // a quick session's figures mean nothing: it doesn't wait
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
