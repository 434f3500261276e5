package jsonstream

import (
	"strings"
	"testing"
)

func TestDecodeSmoke(t *testing.T) {
	h := strings.Repeat("ab", 32)
	var got []*Columns
	n, err := Decode(strings.NewReader("\xef\xbb\xbf [ [\""+h+"\",\"AAEC\"], [\"x\",\"\"] ,[\""+strings.ToUpper(h)+"\",\"\\u0041A__\"]] "), Limits{}, func(c *Columns) error { got = append(got, c); return nil })
	if n != 3 || err != nil || len(got) != 1 {
		t.Fatal(n, err, got)
	}
	t.Logf("%+v", got[0])
}
