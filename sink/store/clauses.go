package store

// Two clauses of a query speak to ClickHouse's own client, and ClickHouse ignores them when another client sends them:
// FORMAT and INTO OUTFILE. They are found so that nobody waits for a file that is never written. A word in a string, a
// comment, a quoted name or parentheses is none of them, and neither is a column or table of that name.

import (
	"slices"
	"strings"
)

// printing returns the clause of query that says how to print, or nothing.
func printing(query string) string {
	words := topWords(query)
	for i, word := range words {
		next := func(n int) string {
			if i+n < len(words) {
				return words[i+n]
			}
			return ""
		}
		switch {
		case word == "INTO" && next(1) == "OUTFILE":
			return "INTO OUTFILE"
		case word == "FORMAT" && i > 0 && !namesFollow(words[i-1]) && isWord(next(1)) &&
			slices.Contains([]string{"", ";", "SETTINGS"}, next(2)):
			return "FORMAT"
		}
	}
	return ""
}

// namesFollow says whether after a word comes a name or a value, so that no clause can begin there.
func namesFollow(word string) bool {
	return !isWord(word) && word != ")" && word != "]" || slices.Contains([]string{
		"SELECT", "DISTINCT", "FROM", "JOIN", "AS", "WHERE", "PREWHERE", "HAVING", "ON", "USING", "BY", "AND", "OR", "NOT", "IN", "LIKE",
		"DESCRIBE", "TABLE", "SHOW", "EXPLAIN",
	}, word)
}

func isWord(word string) bool { return word != "" && isNameByte(word[0]) }

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// topWords are a query's words in upper case, and its signs, outside of parentheses. A string, a quoted name and a pair
// of parentheses are words without a meaning: a zero, or the closing sign.
func topWords(query string) (words []string) {
	depth := 0
	add := func(word string) {
		if depth == 0 {
			words = append(words, word)
		}
	}
	for len(query) > 0 {
		n := 1
		switch c := query[0]; {
		case strings.HasPrefix(query, "--"), c == '#':
			n = until(query, "\n")
		case strings.HasPrefix(query, "/*"):
			n = until(query, "*/")
		case c == '\'' || c == '"' || c == '`':
			n = quoted(query)
			add("0")
		case isNameByte(c):
			for n < len(query) && isNameByte(query[n]) {
				n++
			}
			add(strings.ToUpper(query[:n]))
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth = max(0, depth-1)
			add(query[:1])
		case strings.ContainsRune(" \t\r\n\f\v", rune(c)):
		default:
			add(query[:1])
		}
		query = query[n:]
	}
	return words
}

// until returns where text ends at the end of query's first mark.
func until(query, mark string) int {
	if i := strings.Index(query, mark); i >= 0 {
		return i + len(mark)
	}
	return len(query)
}

// quoted returns the length of the string or quoted name at the beginning of query.
func quoted(query string) int {
	for i := 1; i < len(query); i++ {
		switch query[i] {
		case '\\':
			i++
		case query[0]:
			return i + 1
		}
	}
	return len(query)
}
