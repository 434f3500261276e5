package store

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
)

// A column comes whole and in blocks; settings of the URL and of the query count.
func TestReadColumn(t *testing.T) {
	address, err := url.Parse(newDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	settings := address.Query()
	settings.Set("max_block_size", "1000")
	address.RawQuery = settings.Encode()
	db := open(t, Config{URL: address.String()})
	var column chproto.ColUInt64
	next, blocks := uint64(0), 0
	err = db.readColumn(t.Context(), "count", "SELECT number FROM numbers(100000) SETTINGS max_threads = 1", &column, func() error {
		blocks++
		for _, n := range column {
			if n != next {
				t.Fatalf("%d comes where %d should", n, next)
			}
			next++
		}
		return nil
	})
	if err != nil || next != 100_000 || blocks < 50 {
		t.Errorf("%d rows in %d blocks, %v", next, blocks, err)
	}
}

// What ends a query early is said as the driver would say it. (A wrong password is left out: the embedded engine ends
// its process on one.)
func TestReadColumnFails(t *testing.T) {
	address := newDatabase(t)
	stopped := errors.New("stopped")
	canceled, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, c := range map[string]struct {
		url, query string
		ctx        context.Context
		each       func() error
		want       string
	}{
		"unknown table": {address, "SELECT number FROM nowhere", t.Context(), nil, "were the migrations run"},
		"in the middle": {address, "SELECT number + throwIf(number = 500000) FROM numbers(1000000) SETTINGS max_block_size = 1000", t.Context(), nil, "Value passed to"},
		"each fails":    {address, "SELECT number FROM numbers(100000000)", t.Context(), func() error { return stopped }, "stopped"},
		"context ends":  {address, "SELECT number FROM system.numbers", canceled, func() error { cancel(); return nil }, "context canceled"},
		"nobody there":  {"clickhouse://127.0.0.1:1/default", "SELECT number FROM numbers(1)", t.Context(), nil, ErrUnavailable.Error()},
		"another type":  {address, "SELECT 'text'", t.Context(), nil, "String"},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, Config{URL: c.url})
			each := c.each
			if each == nil {
				each = func() error { return nil }
			}
			began := time.Now()
			err := db.readColumn(c.ctx, "read", c.query, new(chproto.ColUInt64), each)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want it to say %q", err, c.want)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("the error took %v", took)
			}
		})
	}
}
