package main

// ClickHouse, embedded or not.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"countersign/internal/health"
	"countersign/internal/pause"
	"countersign/internal/startup"
	"countersign/sink/store"
	"countersign/sink/store/engine"
)

// engineDatabase is the embedded engine's database.
const engineDatabase = "default"

// engineURLFile says how the embedded engine is reached while it runs, with the passwords of this start: the first line
// is the analysts' URL, for `countersign query`, the second one the service's.
func engineURLFile(dataDir string) string { return filepath.Join(dataDir, "engine.url") }

// writeEngineURL makes the file anew: one that was there may have had another mode.
func writeEngineURL(dataDir string, e *engine.Engine) error {
	path := engineURLFile(dataDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(e.AnalystURL()+"\n"+e.URL()+"\n"), 0o600)
}

// startStore opens ClickHouse, embedded or not, and brings its schema up to date.
func (p *process) startStore(ctx context.Context) (*store.DB, error) {
	url := p.cfg.ClickHouse
	takesWrites := func() error { return nil } // an external ClickHouse's disk is out of sight
	if url == "" {
		embedded, err := engine.Start(ctx, engine.Config{
			Dir: filepath.Join(p.cfg.DataDir, "clickhouse"), Binary: p.cfg.EngineBinary, Lib: p.cfg.EngineLib,
			LibDigest: p.cfg.EngineLibSHA256, MemoryLimit: int64(p.cfg.EngineMemory),
			Logger: p.log.With("part", "engine"), Registerer: p.metrics,
			Grants: store.ServiceGrants(engineDatabase), AnalystGrants: store.AnalystGrants(engineDatabase),
		})
		if err != nil {
			return nil, fmt.Errorf("start the embedded ClickHouse: %w", err)
		}
		stopping := make(chan struct{})
		go func() {
			select {
			case <-embedded.Done():
				p.fail(fmt.Errorf("the embedded ClickHouse ended: %w", embedded.Err()))
			case <-stopping:
			}
		}()
		p.onStop(func(ctx context.Context) {
			close(stopping)
			_ = os.Remove(engineURLFile(p.cfg.DataDir))
			if err := embedded.Close(ctx); err != nil {
				p.log.Warn("stopping the embedded ClickHouse", "error", err)
			}
		})
		url = embedded.URL()
		takesWrites = nowAndThen(embedded.Touch)
		if err := writeEngineURL(p.cfg.DataDir, embedded); err != nil {
			return nil, fmt.Errorf("note where the embedded ClickHouse is reached: %w", err)
		}
	}
	var secure *tls.Config
	if files := p.cfg.clickHouseFiles(); files.any() {
		var err error
		if secure, err = files.config(p.warn); err != nil {
			return nil, err
		}
	}
	db, err := store.Open(ctx, store.Config{URL: url, TLS: secure, Cluster: p.cfg.ClickHouseCluster, Logger: p.log})
	if err != nil {
		return nil, fmt.Errorf("--clickhouse: %w", err)
	}
	p.onStop(func(context.Context) { _ = db.Close() })
	probe := func(ctx context.Context) error { return errors.Join(db.Check(ctx), takesWrites()) }
	p.checks = append(p.checks, health.Check{Name: "store", Probe: probe, Patience: storePatience})
	if err := p.whileUnavailable(ctx, db, db.Migrate); err != nil {
		return nil, fmt.Errorf("bring the schema up to date: %w", err)
	}
	if p.cfg.has(roleSink) {
		p.moveOldRows(db)
	}
	return db, nil
}

// touchPeriod is how often the embedded engine's disk is touched.
const touchPeriod = 10 * time.Second

// nowAndThen returns a probe that calls another one every touchPeriod, and while that fails at each call. It is for one
// goroutine at a time.
func nowAndThen(probe func() error) func() error {
	var last time.Time
	var failed error
	return func() error {
		if now := time.Now(); failed != nil || now.Sub(last) >= touchPeriod {
			last, failed = now, probe()
		}
		return failed
	}
}

// moveOldRows moves what an earlier version stored, beside everything else, until it is done or the process stops.
func (p *process) moveOldRows(db *store.DB) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.MoveOldRows(ctx)
	}()
	p.onStop(func(context.Context) {
		stop()
		<-done
	})
}

const unavailablePause = 500 * time.Millisecond

// whileUnavailable repeats a call for as long as ClickHouse is away, up to startTimeout, and announces the wait.
func (p *process) whileUnavailable(ctx context.Context, db *store.DB, call func(context.Context) error) error {
	return startup.Wait{
		For: "ClickHouse", AtMost: startTimeout, Logger: p.log,
		Passing: func(err error) bool { return errors.Is(err, store.ErrUnavailable) },
		Pause:   func(ctx context.Context, _ int) error { return pause.For(ctx, unavailablePause) },
		Explain: db.Explain,
	}.Do(ctx, call)
}
