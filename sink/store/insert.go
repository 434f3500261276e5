package store

// What all inserts share. They are synchronous and columnar. Rows go out in blocks of some thousand, so that an insert
// of any size takes little memory, and ClickHouse receives the first block while the next is made. ClickHouse joins the
// blocks again (up to a million rows or 256 MiB), so an insert is one part and one wait for the disk. All inserts may
// be repeated: a row with a key that is there is the same row (I5).
//
// An insert that failed may have stored none, some or all of its rows. The driver's batch can't be used again after an
// error, so each attempt builds its own.

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unsafe"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"countersign/internal/pause"
)

// blockRows is how many rows travel in one block: 2.7 MB of hashes with RSA-2048 signatures.
const blockRows = 8192

// insert sends n rows. fill appends rows from..to of every column of the query, in its order.
func (db *DB) insert(ctx context.Context, what, query string, n int, fill func(b *block, from, to int)) error {
	err := db.retryQuorum(ctx, func() error {
		return db.watched(ctx, func(ctx context.Context) error { return db.send(ctx, query, n, fill) })
	})
	return db.wrap(ctx, err, what)
}

// send makes one attempt at an insert.
func (db *DB) send(ctx context.Context, query string, n int, fill func(b *block, from, to int)) error {
	batch, err := db.prepare(ctx, query)
	if err != nil {
		return err
	}
	for from := 0; from < n; from += blockRows {
		if from > 0 {
			if err := errors.Join(ctx.Err(), batch.Flush()); err != nil {
				return errors.Join(err, batch.Abort())
			}
		}
		b := &block{columns: batch.Columns()}
		fill(b, from, min(n, from+blockRows))
		if err := b.complete(); err != nil {
			return errors.Join(err, batch.Abort())
		}
	}
	return batch.Send()
}

// prepare begins an insert. ClickHouse answers with the table's columns at once, so this exchange may not be silent for
// as long as the insert itself: a connection that has died while it was idle is found out here.
func (db *DB) prepare(ctx context.Context, query string) (driver.Batch, error) {
	preparing, cancel := context.WithCancelCause(ctx)
	silent := &silentError{address: db.where(), silence: readSilence}
	timer := time.AfterFunc(readSilence, func() { cancel(silent) })
	batch, err := db.writer.PrepareBatch(preparing, query)
	if timer.Stop() || ctx.Err() != nil {
		return batch, err // the batch goes on under preparing
	}
	for _, d := range db.dialers {
		if len(db.addresses) == 1 { // with several it isn't known which one was silent
			d.silent.note(db.addresses[0])
		}
		d.closeIdle()
	}
	if err == nil {
		err = batch.Abort()
	}
	return nil, errors.Join(silent, err)
}

// quorumRetries is how often an insert is repeated: over some two and a half seconds.
const quorumRetries = 8

// retryQuorum repeats an insert that came while another one's quorum was open: with insert_quorum_parallel off
// ClickHouse refuses instead of waiting. Callers see ErrUnavailable when that lasts.
func (db *DB) retryQuorum(ctx context.Context, insert func() error) error {
	wait := pause.Backoff{First: 10 * time.Millisecond, Most: 2 * time.Second}
	for n := 0; ; n++ {
		err := insert()
		if !hasCode(err, chproto.ErrUnsatisfiedQuorumForPreviousWrite) || n == quorumRetries {
			return err
		}
		if pause.For(ctx, wait.After(n)) != nil {
			return err
		}
	}
}

// block appends whole columns in order and remembers the first error.
type block struct {
	columns []column.Interface
	next    int
	err     error
}

func (b *block) column() column.Interface {
	if b.err == nil && b.next == len(b.columns) {
		b.err = errors.New("more columns than the table was asked for")
	}
	if b.err != nil {
		return nil
	}
	b.next++
	return b.columns[b.next-1]
}

func (b *block) failed(c column.Interface, err error) {
	if err != nil {
		b.err = fmt.Errorf("column %s: %w", c.Name(), err)
	}
}

func (b *block) append(values any) {
	if c := b.column(); c != nil {
		_, err := c.Append(values)
		b.failed(c, err)
	}
}

// appendRepeating appends strings to a LowCardinality column. Boxing a value once spares an allocation a row.
func (b *block) appendRepeating(values []string) {
	c := b.column()
	if c == nil {
		return
	}
	boxes := make(map[string]any)
	var boxed any
	last := ""
	for i, v := range values {
		if i == 0 || v != last {
			var known bool
			if boxed, known = boxes[v]; !known {
				boxed = v
				boxes[v] = boxed
			}
			last = v
		}
		if err := c.AppendRow(boxed); err != nil {
			b.failed(c, err)
			return
		}
	}
}

// appendArrays appends one array a row.
func appendArrays[T any](b *block, rows [][]T) {
	c := b.column()
	if c == nil {
		return
	}
	for _, row := range rows {
		if err := c.AppendRow(row); err != nil {
			b.failed(c, err)
			return
		}
	}
}

func (b *block) complete() error {
	if b.err == nil && b.next != len(b.columns) {
		b.err = fmt.Errorf("%d columns of %d were filled", b.next, len(b.columns))
	}
	return b.err
}

// split cuts concatenated hashes; len(hashes) is a multiple of 32, which callers check because the driver cuts
// silently.
func split(hashes []byte) [][]byte {
	out := make([][]byte, len(hashes)/HashSize)
	for i := range out {
		out[i] = hashes[i*HashSize : (i+1)*HashSize : (i+1)*HashSize]
	}
	return out
}

// pick returns the values at some indexes.
func pick[T any](values []T, at []uint32) []T {
	out := make([]T, len(at))
	for i, j := range at {
		out[i] = values[j]
	}
	return out
}

func views(fingerprints [][32]byte) [][]byte {
	out := make([][]byte, len(fingerprints))
	for i := range out {
		out[i] = fingerprints[i][:]
	}
	return out
}

// texts looks at byte slices as strings without copying them: the driver appends strings without an allocation each,
// and keeps neither. The strings die with the insert.
func texts(values [][]byte) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = unsafe.String(unsafe.SliceData(v), len(v))
	}
	return out
}

func project[S, T any](rows []S, field func(*S) T) []T {
	out := make([]T, len(rows))
	for i := range rows {
		out[i] = field(&rows[i])
	}
	return out
}

// literal writes a hash as a constant of its column's type.
func literal(hash []byte) string {
	return "toFixedString(unhex('" + hex.EncodeToString(hash) + "'), 32)"
}
