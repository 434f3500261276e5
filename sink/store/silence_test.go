package store

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// noticed is when silence must have been noticed. The promise is 10 s; a busy machine gets more.
const noticed = 30 * time.Second

// server that accepts and never says a word.
func silentServer(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String() // the kernel accepts
}

// muting tells a mutableProxy which connections are to be silent.
type muting struct {
	made   atomic.Int64 // connections so far
	silent atomic.Int64 // so many of them, the first ones, say nothing more
}

// all silences all connections, and those that are still to come.
func (m *muting) all() { m.silent.Store(math.MaxInt64) }

// soFar silences the connections that there are.
func (m *muting) soFar() { m.silent.Store(m.made.Load()) }

// mutableProxy forwards to the server of a store until it is told to be silent: connections stay open, and new ones are
// accepted, and nothing more comes out of it.
func mutableProxy(t *testing.T, to *DB) (address string, mute *muting) {
	t.Helper()
	mute = new(muting)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			number := mute.made.Add(1)
			wg.Go(func() {
				<-ctx.Done()
				client.Close()
			})
			upstream, err := to.dialers[0].connect(ctx, to.addresses[0])
			if err != nil {
				continue
			}
			wg.Go(func() {
				defer upstream.Close()
				defer client.(*net.TCPConn).CloseWrite()
				buffer := make([]byte, 1<<16)
				for {
					n, err := upstream.Read(buffer)
					if number <= mute.silent.Load() {
						<-ctx.Done()
					}
					if n > 0 {
						_, _ = client.Write(buffer[:n])
					}
					if err != nil {
						return
					}
				}
			})
			wg.Go(func() {
				_, _ = io.Copy(upstream, client)
				_ = upstream.CloseWrite()
			})
		}
	})
	return l.Addr().String(), mute
}

func TestSilenceIsNoticed(t *testing.T) {
	t.Parallel()
	target := newDB(t)
	for name, call := range map[string]func(context.Context, *DB) error{
		"look-up":   func(ctx context.Context, db *DB) error { _, _, err := db.Hash(ctx, hashOf(1)); return err },
		"insert":    func(ctx context.Context, db *DB) error { return db.InsertHashes(ctx, rowsOf(uploadOf(1), 0, 3)) },
		"migration": func(ctx context.Context, db *DB) error { return db.Migrate(ctx) },
		"check":     func(ctx context.Context, db *DB) error { return db.Check(ctx) },
	} {
		for _, state := range []string{"from the start", "later"} {
			t.Run(name+" "+state, func(t *testing.T) {
				t.Parallel()
				address := silentServer(t)
				var mute *muting
				if state == "later" {
					address, mute = mutableProxy(t, target)
				}
				db := open(t, Config{URL: replaceHost(t, target, address)})
				if state == "later" {
					if err := call(t.Context(), db); err != nil {
						t.Fatal(err)
					}
					mute.all()
				}
				began := time.Now()
				err := call(t.Context(), db)
				if took := time.Since(began); took > noticed {
					t.Errorf("noticed after %v", took)
				}
				if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "has said nothing for") {
					t.Error(err)
				}
			})
		}
	}
}

// Connections that were idle and have died since cost one call its silence, and the next one goes to a new connection.
func TestDeadIdleConnections(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, *DB) error{
		"look-up": func(ctx context.Context, db *DB) error { _, _, err := db.Hash(ctx, hashOf(1)); return err },
		"insert":  func(ctx context.Context, db *DB) error { return db.InsertHashes(ctx, rowsOf(uploadOf(1), 0, 3)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := newDB(t)
			address, mute := mutableProxy(t, target)
			db := open(t, Config{URL: replaceHost(t, target, address)})
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					if err := call(t.Context(), db); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			mute.soFar()
			began := time.Now()
			err := call(t.Context(), db)
			t.Logf("noticed after %v", time.Since(began))
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "has said nothing for") || time.Since(began) > noticed {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			if err := call(t.Context(), db); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

// A query that meets a connection that died while it was idle is answered on another one.
func TestAQueryOnADeadIdleConnectionIsAskedAgain(t *testing.T) {
	t.Parallel()
	target := newDB(t)
	address, mute := mutableProxy(t, target)
	db := open(t, Config{URL: replaceHost(t, target, address)})
	for name, ask := range map[string]func() error{
		"a caller's": func() error { _, _, err := db.Hash(t.Context(), hashOf(1)); return err },
		"a stage's": func() error {
			hash := hashOf(1)
			return db.Owners(t.Context(), hash[:], make(map[[32]byte]Owner))
		},
	} {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		mute.soFar()
		for _, d := range db.dialers {
			d.mu.Lock()
			for c := range d.open {
				c.mu.Lock()
				c.used = c.used.Add(-idleFor)
				c.mu.Unlock()
			}
			d.mu.Unlock()
		}
		if err := ask(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A call goes to the next address when the first one is silent, and the ones after it begin there.
func TestSilentAddressComesLast(t *testing.T) {
	t.Parallel()
	target := newDB(t)
	address, _ := mutableProxy(t, target)
	db := open(t, Config{URL: replaceHost(t, target, silentServer(t)+","+address)})
	if _, _, err := db.Hash(t.Context(), hashOf(1)); err != nil {
		t.Fatal(err)
	}
	for _, d := range db.dialers {
		if got := d.silent.last(db.addresses); got[0] != address {
			t.Errorf("addresses are tried in the order %v", got)
		}
	}
}

// A query that computes for longer than silence may last is none: its progress is a sign of life.
func TestALongQueryIsNoSilence(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	began := time.Now()
	scan := func(driver.Rows) error { return nil }
	if err := db.selectAll(t.Context(), "sleep", "SELECT sleepEachRow(3) FROM numbers(4) SETTINGS max_block_size = 4, function_sleep_max_microseconds_per_block = 20000000", scan); err != nil {
		t.Error(err)
	}
	t.Logf("it took %v", time.Since(began))
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	db := newDB(t)
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	u, err := url.Parse(db.cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("readonly", "2")
	u.RawQuery = q.Encode()
	contains(t, open(t, Config{URL: u.String()}).Check(t.Context()), "lets this user only read", "readonly is 2")
	contains(t, open(t, Config{URL: newDatabase(t)}).Check(t.Context()), "signatures")
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	if err := open(t, Config{URL: "clickhouse://" + nobody.Addr().String()}).Check(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}
