package sniff

import (
	"strings"
	"testing"
)

const hash = "2804fbcd69ab84e985955431a5dcdb20b0d999be2bf9e90280cdf030e94c15dc"

func TestOf(t *testing.T) {
	for _, c := range []struct{ body, found string }{
		{"", ""},
		{"[]", ""},
		{`[["` + hash + `","MEUC"]]`, ""},
		{` [ [ "` + hash + `"`, ""},
		{"[7]", ""},
		{"null", ""},
		{"oops", ""},
		{"\x1f\x8b\x08\x00", "gzip data"},
		{"\x28\xb5\x2f\xfd\x24", "zstd data"},
		{"\x50\x2a\x4d\x18\x04\x00\x00\x00", "zstd data"},
		{"\xfd7zXZ\x00\x00", "xz data"},
		{"BZh91AY", "bzip2 data"},
		{"PK\x03\x04\x14", "a ZIP file"},
		{"7z\xbc\xaf\x27\x1c", "a 7z file"},
		{"\x04\x22\x4d\x18\x64", "lz4 data"},
		{"\x78\x9c\x8b\x8e", "zlib data"},
		{"\xff\xfe[\x00[\x00", "text in UTF-16"},
		{"\xfe\xff\x00[\x00[", "text in UTF-16"},
		{"[\x00[\x00", "text in UTF-16"},
		{"\x00[\x00[", "text in UTF-16"},
		{"\xff\xfe\x00\x00[\x00\x00\x00", "text in UTF-32"},
		{"[\x00\x00\x00[", "text in UTF-32"},
		{"-----BEGIN PRIVATE KEY-----\n", "a PEM file"},
		{"--------------------------d74496d66958873e\r\nContent-Disposition", "a multipart form"},
		{"----WebKitFormBoundary7MA4YWxk\r\n", "a multipart form"},
		{"data=%5B%5B%22", "a form"},
		{"hash=" + hash + "&sig=x", "a form"},
		{"%5B%5B%22", "a percent-encoded form"},
		{"@pairs.json", "the name of a file"},
		{"<!doctype html>", "HTML or XML"},
		{`{"pairs":[]}`, "an object"},
		{"\n" + `{"hash":"`, "an object"},
		{"[object Object]", "a JavaScript object"},
		{`"[[\"` + hash, "a string"},
		{`[{"hash":"`, "a list of objects"},
		{"[\n {", "a list of objects"},
		{`["` + hash + `","MEUC"]`, "a list of strings"},
		{`[['` + hash, "text in single quotes"},
		{`['` + hash, "text in single quotes"},
		{`[("` + hash, "round brackets"},
		{hash + ",MEUC", "a hash without quotes"},
		{strings.ToUpper(hash) + "  file", "a hash without quotes"},
	} {
		m, ok := Of([]byte(c.body))
		if ok != (c.found != "") || !strings.HasPrefix(m.Found, c.found) || ok && m.Remedy == "" {
			t.Errorf("%q: %q, want %q", c.body, m, c.found)
		}
	}
}
