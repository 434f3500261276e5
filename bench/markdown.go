package bench

// Tables of the report that are more than a list of figures. On the terminal they are Markdown, to be pasted.

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is rows of text under a head.
type Table struct {
	Title string     `json:"title"`
	Head  []string   `json:"head"`
	Rows  [][]string `json:"rows"`
}

// markdown writes the table with its columns aligned.
func (t *Table) markdown(w io.Writer) {
	widths := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row[:len(row)-1] {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(cell), 0)))
		}
		fmt.Fprintln(w, "|")
	}
	fmt.Fprintf(w, "\n%s\n\n", t.Title)
	line(t.Head)
	fmt.Fprintln(w, strings.Repeat("|---", len(t.Head))+"|")
	for _, row := range t.Rows {
		line(row)
	}
}
