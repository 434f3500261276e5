package bench

// The report on a terminal.

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table writes the figures by group, in columns.
func (r *Report) table(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "\n%s, %d cores, %s, %s, %s\ncommit %s, %s; ours: %s\n",
		m.CPU, m.Cores, m.System, m.Go, orNone(m.OpenSSL, "no openssl"), orNone(m.Commit, "unknown"), r.Date.Format("2006-01-02 15:04:05"), m.Verifier)
	rows := [][]string{}
	group := ""
	for _, f := range r.Figures {
		if f.Group != group {
			group = f.Group
			rows = append(rows, nil, []string{group})
		}
		rows = append(rows, f.row())
	}
	writeRows(w, rows)
	for _, t := range r.Tables {
		t.markdown(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\nNote: %s", n)
	}
	fmt.Fprintln(w)
}

func orNone(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

// row is title, median, spread, target and whether it is met.
func (f *Figure) row() []string {
	if f.Missing != "" {
		return []string{"  " + f.Title, "missing", f.Missing}
	}
	row := []string{"  " + f.Title, number(f.Median) + " " + f.Unit, f.spread(), "", ""}
	if f.Target != nil {
		row[3] = f.Target.String()
		row[4] = f.verdict()
	}
	return row
}

func (f *Figure) spread() string {
	if f.N < 2 {
		return ""
	}
	return fmt.Sprintf("%s – %s, ±%s", number(f.Min), number(f.Max), number(f.MAD))
}

// verdict says whether the target is met.
func (f *Figure) verdict() string {
	switch {
	case f.Target == nil || f.Missing != "":
		return ""
	case f.Target.met(f.Median):
		return "met"
	default:
		return "NOT MET"
	}
}

// writeRows aligns columns. A row of one cell is a heading and takes no part in it.
func writeRows(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row[:max(len(row)-1, 0)] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}
