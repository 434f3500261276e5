package bench

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSpeedIsReadAsOpenSSLPrintsIt(t *testing.T) {
	for file, want := range map[string]map[string]float64{
		"speed-3.0-multi.txt":  {"rsa2048": 17240.846154, "ecdsap256": 7183.851485},
		"speed-3.0-stderr.txt": {"rsa4096": 26983.000000, "ecdsap384": 2035.000000},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseSpeed(string(text))
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", file, got, err, want)
		}
	}
	// Version 3.4 has columns for encryption as well.
	got, err := parseSpeed("+F2:2:2048:1144.0:17240.5:17000.0:1100.0\n")
	if err != nil || got["rsa2048"] != 17240.5 {
		t.Errorf("with more columns: %v, %v", got, err)
	}
	if got, err := parseSpeed("speed: unknown algorithm\n"); err != nil || len(got) != 0 {
		t.Errorf("without results: %v, %v", got, err)
	}
}

func TestEveryAlgorithmHasASpeedName(t *testing.T) {
	for _, a := range algorithms() {
		prefix := "ecdsap"
		if a.curve == nil {
			prefix = "rsa"
		}
		if !strings.HasPrefix(a.speed, prefix) {
			t.Errorf("%s is %s to openssl", a.name, a.speed)
		}
	}
}

func TestMetricsWithoutLabels(t *testing.T) {
	got, err := parseMetrics(strings.NewReader(`# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 4.5056e+07
go_gc_duration_seconds{quantile="0.5"} 3.1e-05
go_gc_duration_seconds_count 12
`))
	want := map[string]float64{"process_resident_memory_bytes": 45056000, "go_gc_duration_seconds_count": 12}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if _, err := parseMetrics(strings.NewReader("a b\n")); err == nil {
		t.Error("a value that is no number is accepted")
	}
}

func TestBusyTimeIsAllButIdleAndWaiting(t *testing.T) {
	got, ok := parseCPU("cpu  100 1 20 1000 50 2 3 4 0 0\ncpu0 50 0 10 500 25 1 1 2 0 0\n")
	if want := (cpuTimes{busy: 130, total: 1180}); !ok || got != want {
		t.Errorf("%+v, %t, want %+v", got, ok, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8"} {
		if _, ok := parseCPU(bad); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
}
