package store

// Answers to people: any query, printed as text. The service itself asks nothing this way.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// Print runs a query and writes every row to w, "column: value" a line, with an empty line between rows.
func (db *DB) Print(ctx context.Context, w io.Writer, query string) error {
	rows, err := db.conn.Query(ctx, query)
	if errors.Is(err, io.EOF) { // the driver's bare EOF: the statement ended without a result
		return nil
	}
	if err != nil {
		return db.wrap(ctx, err, "run the query")
	}
	defer rows.Close()
	types := rows.ColumnTypes()
	values := make([]any, len(types))
	for i, t := range types {
		values[i] = reflect.New(t.ScanType()).Interface()
	}
	for n := 0; rows.Next(); n++ {
		if err := rows.Scan(values...); err != nil {
			return fmt.Errorf("read a row: %w", err)
		}
		if n > 0 {
			fmt.Fprintln(w)
		}
		for i, name := range rows.Columns() {
			if _, err := fmt.Fprintf(w, "%s: %v\n", name, reflect.ValueOf(values[i]).Elem()); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}
