package store

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// A call that is given up in the middle leaves the engine and the store as they were.
func TestAbandonedCallsHarmNothing(t *testing.T) {
	db := newDB(t)
	rows := randomRows(rand.NewChaCha8([32]byte{1}), 60_000)
	var abandoned atomic.Int64
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(time.Duration(i)*3*time.Millisecond, cancel)
			err := db.InsertHashes(ctx, rows)
			if err == nil {
				err = db.ScanHashes(ctx, 0, 1, func([]byte) error { return nil })
			}
			if err != nil {
				abandoned.Add(1)
			}
			if err != nil && (!errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable)) {
				t.Errorf("after %d ms: %v", i*3, err)
			}
		})
	}
	wg.Wait()
	if abandoned.Load() == 0 {
		t.Error("no call was given up in the middle")
	}
	if err := db.InsertHashes(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

// A client that dies in the middle of an insert is one more way to abandon it.
func TestConnectionsThatBreakHarmNothing(t *testing.T) {
	target := newDB(t)
	rows := randomRows(rand.NewChaCha8([32]byte{2}), 30_000)
	for _, limit := range []int64{400, 3000, 1 << 20, 5 << 20} {
		proxy := newBreakingProxy(t, target, limit)
		db := open(t, Config{URL: replaceHost(t, target, proxy)})
		if err := db.InsertHashes(t.Context(), rows); !errors.Is(err, ErrUnavailable) {
			t.Errorf("broken after %d bytes: %v", limit, err)
		}
	}
	if err := target.InsertHashes(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
}

func replaceHost(t *testing.T, db *DB, address string) string {
	t.Helper()
	var name string
	if err := db.conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Host, u.Path, u.RawQuery = address, "/"+name, ""
	return u.String()
}

// newBreakingProxy forwards connections to the server of a store and resets the client's side of each after limit bytes
// from it. The other side is ended gently, because the embedded engine does not survive a reset (dial.go).
func newBreakingProxy(t *testing.T, to *DB, limit int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := to.dialers[0].connect(context.Background(), to.addresses[0])
			if err != nil {
				client.Close()
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(client, upstream)
				_, _ = io.Copy(io.Discard, upstream)
				upstream.Close()
			})
			wg.Go(func() {
				_, _ = io.CopyN(upstream, client, limit)
				_ = client.(*net.TCPConn).SetLinger(0)
				client.Close()
				_ = upstream.CloseWrite()
			})
		}
	})
	return l.Addr().String()
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Run("away", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		db := open(t, Config{URL: "clickhouse://" + address})
		err = db.InsertUploads(t.Context(), []Upload{{}})
		if !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
		contains(t, err, address)
	})
	t.Run("silent", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says a word
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		db := open(t, Config{URL: "clickhouse://" + l.Addr().String() + "?dial_timeout=200ms&read_timeout=200ms"})
		if _, _, err := db.Hash(t.Context(), [32]byte{}); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		db := newDB(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := db.selectAll(ctx, "sleep", "SELECT sleep(0.5)", nil)
		if !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("memory", func(t *testing.T) {
		db := newDB(t)
		err := db.selectAll(t.Context(), "eat", "SELECT groupArray(number) FROM numbers(10000000) SETTINGS max_memory_usage = 1000000", nil)
		if !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
	t.Run("no database", func(t *testing.T) {
		// As the server says it; asking the embedded engine for real would end it.
		db := open(t, Config{URL: server})
		err := db.wrap(t.Context(), &clickhouse.Exception{Code: 81, Message: "Database x does not exist"}, "ping")
		if errors.Is(err, ErrUnavailable) {
			t.Error("a missing database was called unavailable")
		}
		contains(t, err, "create the database")
	})
	t.Run("not migrated", func(t *testing.T) {
		db := open(t, Config{URL: newDatabase(t)})
		_, _, err := db.Hash(t.Context(), [32]byte{})
		contains(t, err, "migrations")
	})
	t.Run("bad URL", func(t *testing.T) {
		_, err := Open(t.Context(), Config{URL: "host:9000"})
		contains(t, err, "clickhouse://user:password@host:9000/database")
	})
}

func TestColumnsOfUnequalLengthAreRefused(t *testing.T) {
	db := open(t, Config{URL: server})
	cut := rowsOf(uploadOf(1), 0, 3)
	cut.Hash = cut.Hash[:95]
	contains(t, db.InsertHashes(t.Context(), cut), "3 rows")
	short := rowsOf(uploadOf(1), 0, 3)
	short.Site = short.Site[:2]
	contains(t, db.InsertHashes(t.Context(), short), "Site")
	contains(t, db.InsertResults(t.Context(), []ResultRow{{Duplicates: Entries{Hashes: make([]byte, 33), Indexes: []uint16{1}}}}), "duplicates")
	contains(t, db.InsertCertificates(t.Context(), []Certificate{{Site: "a.example"}}), "empty")
	contains(t, db.Owners(t.Context(), make([]byte, 33), nil), "whole number")
}
