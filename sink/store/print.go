package store

// Answers to people: any query, printed as text. It reads only: the service itself neither asks nor writes this way.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	chproto "github.com/ClickHouse/ch-go/proto"
)

// Print runs a query that only reads and writes every row to w, "column: value" a line, with an empty line between
// rows. It returns how many rows there were. ClickHouse refuses what would write, and so does Print what asks for
// another way to print. The store must have been opened with Config.ReadOnly.
func (db *DB) Print(ctx context.Context, w io.Writer, query string) (n int, err error) {
	if !db.cfg.ReadOnly {
		return 0, errors.New("clickhouse: Print needs a store that was opened to read only")
	}
	if clause := printing(query); clause != "" {
		return 0, fmt.Errorf("%s can't be used here: rows are printed as \"column: value\"; leave it out, and redirect the output", clause)
	}
	if err := db.confine(ctx); err != nil {
		return 0, db.wrap(ctx, err, "begin to read only")
	}
	rows, err := db.conn.Query(ctx, query)
	if errors.Is(err, io.EOF) { // the driver's bare EOF: the statement ended without a result
		return 0, nil
	}
	if err != nil {
		return 0, db.wrap(ctx, err, "run the query")
	}
	defer rows.Close()
	types := rows.ColumnTypes()
	values := make([]any, len(types))
	for i, t := range types {
		values[i] = reflect.New(t.ScanType()).Interface()
	}
	for ; rows.Next(); n++ {
		if err := rows.Scan(values...); err != nil {
			return n, fmt.Errorf("read a row: %w", err)
		}
		if n > 0 {
			fmt.Fprintln(w)
		}
		for i, name := range rows.Columns() {
			if _, err := fmt.Fprintf(w, "%s: %s\n", name, printed(reflect.ValueOf(values[i]).Elem())); err != nil {
				return n, err
			}
		}
	}
	return n, db.wrap(ctx, rows.Err(), "run the query")
}

// confine makes the session, which is the store's only connection, one that can't write. As a setting of the query
// alone it would not hold against the query's own SETTINGS. A user who is confined more than that already may not even
// say so.
func (db *DB) confine(ctx context.Context) error {
	err := db.conn.Exec(ctx, "SET readonly = 2")
	if hasCode(err, chproto.ErrReadonly) {
		return nil
	}
	return err
}

// printed writes a value as people read it: NULL, and what pointers point to.
func printed(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "NULL"
		}
		if _, ok := reflect.TypeAssert[fmt.Stringer](v); !ok {
			return printed(v.Elem())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Pointer {
			parts := make([]string, v.Len())
			for i := range parts {
				parts[i] = printed(v.Index(i))
			}
			return "[" + strings.Join(parts, " ") + "]"
		}
	default:
	}
	return fmt.Sprint(v)
}
