package main

// What each kind of request costs the service (I8). The test sends requests of every kind to one service with an
// embedded log and engine, and measures what they made the service do. docs/security.md has the figures in a table, and
// beside each figure its bound. The page is the source of the bounds: a figure that has grown past its bound fails.
//
//	go test ./cmd/countersign -run CostOfEachKind -update
//
// writes the figures anew. It leaves the bounds as they are, and gives new rows bounds with a usual margin.
//
// Nothing is judged by elapsed time. Processor time is read to the nanosecond from the clocks of the service's two
// processes, less what they take at rest. What a background task of ClickHouse takes meanwhile can't be told apart, so
// a kind that is over a bound is measured again, and the least of three figures counts.

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"countersign/sink/store"
)

var update = flag.Bool("update", false, "write the measured figures of docs/security.md anew")

const (
	securityPage = "../../docs/security.md"
	measurements = 3 // of a kind at most, of which the least figures count
)

func TestTheCostOfEachKindOfRequest(t *testing.T) {
	for _, variable := range []string{"KAFKA_BROKERS", "COUNTERSIGN_TEST_CLICKHOUSE"} {
		if os.Getenv(variable) != "" {
			t.Skipf("%s is set: the log and the store that are measured are the embedded ones", variable)
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok && strings.Contains(fmt.Sprint(info.Settings), "{-race true}") {
		t.Skip("the race detector costs more than what is measured")
	}
	page := readCostTable(t, securityPage)
	page.noProcessor = !cpu.X86.HasAVX512IFMA || os.Getenv("COUNTERSIGN_CPU") != ""
	if page.noProcessor {
		t.Log("PROCESSOR TIME IS NOT COMPARED: the bounds are those of processors with AVX-512 IFMA")
	}
	m := newMeter(t)
	var measured []costRow
	for _, k := range m.kinds() {
		row := m.measure(k, 0)
		for again := 1; again < measurements && page.exceeds(row) != ""; again++ {
			t.Logf("%s: %s; measuring again", k.name, page.exceeds(row))
			row = row.least(m.measure(k, again))
		}
		t.Log(row)
		if over := page.exceeds(row); over != "" {
			t.Errorf("%s: %s", k.name, over)
		}
		measured = append(measured, row)
	}
	if *update {
		page.write(t, measured)
	} else if missing := page.missing(measured); missing != "" {
		t.Errorf("docs/security.md has other kinds of requests than the test: %s; run the test with -update", missing)
	}
	m.stop()
}

// kind is requests of one kind.
type kind struct {
	name     string
	requests int // in each measurement
	// prepare makes everything that is sent, and returns what sends it. Each round must cost the same as the first.
	prepare func(round int) (send func())
}

// meter is a running service that tells what it has used.
type meter struct {
	t *testing.T
	*node
	*world
	dataDir    string
	rests      string // Unix socket of restOnRequest
	processors []int  // processes: the service and its engine
	store      *store.DB
	http       *http.Client // whose bytes count as sent
	signers    map[string]signer
	thousand   string // UUID of a finished upload of a thousand pairs

	idle    float64       // seconds of processors a second, at rest
	aside   time.Duration // of processors, for the test's own questions
	sent    atomic.Int64  // bytes on connections that the meter opened
	fetches atomic.Int64  // connections to sites that hang up
	later   []func()      // what ends a measurement
}

// spent is what the service has used since it started, but for aside.
type spent struct {
	processor                  time.Duration
	sent, log, stored, fetches int64
	at                         time.Time
}

// measure sends requests of a kind and returns what they cost.
func (m *meter) measure(k kind, round int) costRow {
	send := k.prepare(round)
	m.rest()
	quiet := m.resident("VmRSS")
	from := m.spent()
	send()
	m.settle()
	to := m.spent()
	peak := m.resident("VmHWM")
	for _, f := range m.later {
		f()
	}
	m.later = nil
	processor := to.processor - from.processor - time.Duration(m.idle*float64(to.at.Sub(from.at)))

	sent := float64(to.sent - from.sent)
	grown := float64(max(0, peak-quiet))
	row := costRow{
		kind: k.name, requests: k.requests, bytes: sent / float64(k.requests),
		figures: map[string]float64{
			columnLog:       float64(to.log-from.log) / sent,
			columnStore:     float64(to.stored-from.stored) / sent,
			columnFetches:   float64(to.fetches-from.fetches) / float64(k.requests),
			columnProcessor: max(0, processor.Seconds()) * 1000 / (sent / 1024),
			columnMemory:    grown / (1 << 20),
		},
	}
	if sent >= leastForMultiple {
		row.figures[columnMemoryMultiple] = grown / sent
	}
	return row
}

// spent reads the processors' clocks last, so that reading costs the next measurement nothing.
func (m *meter) spent() spent {
	var s spent
	m.asideOf(func() { s.stored, _ = m.askStore() })
	s.sent, s.log, s.fetches = m.sent.Load(), m.logBytes(), m.fetches.Load()
	for _, site := range m.sites {
		s.fetches += int64(site.Connections())
	}
	s.at, s.processor = time.Now(), m.processorTime()-m.aside
	return s
}

// asideOf does something that costs the service time that no request cost.
func (m *meter) asideOf(do func()) {
	before := m.processorTime()
	do()
	m.aside += m.processorTime() - before
}

// processorTime is what both processes have taken of processors, from clocks with a resolution of a nanosecond.
func (m *meter) processorTime() (sum time.Duration) {
	m.t.Helper()
	for _, pid := range m.processors {
		var now unix.Timespec
		const schedClock = 2 // CPUCLOCK_SCHED of the kernel, see clock_getcpuclockid(3)
		must(m.t, unix.ClockGettime(int32(^pid<<3|schedClock), &now))
		sum += time.Duration(now.Nano())
	}
	return sum
}

// logBytes is the size of all records of all topics of the embedded log.
func (m *meter) logBytes() (sum int64) {
	segments, err := filepath.Glob(filepath.Join(m.dataDir, "log", "*", "*", "*.dat"))
	must(m.t, err)
	for _, path := range segments {
		info, err := os.Stat(path)
		must(m.t, err)
		sum += info.Size()
	}
	return sum
}

// askStore returns the bytes that were inserted into ClickHouse, uncompressed, and the merges under way.
func (m *meter) askStore() (inserted, merges int64) {
	var text strings.Builder
	_, err := m.store.Print(m.t.Context(), &text, "SELECT (SELECT sum(value) FROM system.events WHERE event = 'InsertedBytes') AS inserted, "+
		"(SELECT count() FROM system.merges) AS merges")
	must(m.t, err)
	_, err = fmt.Sscanf(text.String(), "inserted: %d\nmerges: %d", &inserted, &merges)
	must(m.t, err)
	return inserted, merges
}

// resident is a line of the service's /proc/PID/status, in bytes.
func (m *meter) resident(name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID()))
	must(m.t, err)
	found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		m.t.Fatalf("the kernel doesn't tell %s:\n%s", name, text)
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	must(m.t, err)
	return kib << 10
}

// until asks again and again, up to the test's patience.
func (m *meter) until(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if err := m.Alive(); err != nil || time.Now().After(end) {
			m.t.Fatalf("waiting until %s: %v\n%s", what, err, m.logs)
		}
	}
}

// undone are metrics that are zero when nothing is left to be done.
var undone = regexp.MustCompile(`(?m)^(?:countersign_ingest_admission_held\{gate="undecided"\}|countersign_sink_pending_bytes|` +
	`countersign_verify_held_bytes|countersign_verify_jobs_waiting|countersign_verify_undecided_uploads) (\S+)$`)

// settle returns when everything that was accepted is done. It asks the service only when the log has stopped growing,
// and what the asking costs isn't counted.
func (m *meter) settle() {
	m.t.Helper()
	before := int64(-1)
	m.until("all is done", func() (done bool) {
		now := m.logBytes()
		if now != before {
			before = now
			return false
		}
		m.asideOf(func() {
			_, text := m.admin("/metrics")
			found := undone.FindAllStringSubmatch(text, -1)
			if len(found) != 5 {
				m.t.Fatalf("%d metrics say what is undone, want 5: %q", len(found), found)
			}
			for _, f := range found {
				if f[1] != "0" {
					return
				}
			}
			done = true
		})
		return done
	})
}

// rest returns when ClickHouse merges nothing, the service has given back the memory that it doesn't use, and the
// kernel has forgotten how much it once used.
func (m *meter) rest() {
	m.t.Helper()
	m.until("no merge is under way", func() bool {
		_, merges := m.askStore()
		return merges == 0
	})
	c, err := net.Dial("unix", m.rests)
	must(m.t, err)
	defer c.Close()
	must(m.t, c.SetReadDeadline(time.Now().Add(patience)))
	var rested [1]byte
	_, err = c.Read(rested[:])
	must(m.t, err)
	must(m.t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", m.PID()), []byte("5"), 0))
}

// restSocket is the variable that names the socket of restOnRequest.
const restSocket = "COUNTERSIGN_TEST_REST_SOCKET"

// restOnRequest runs in the service's process. Whoever connects is sent a byte once the process has collected its
// garbage and given the memory back to the system.
func restOnRequest(path string) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		debug.FreeOSMemory()
		_, _ = c.Write([]byte{1})
		_ = c.Close()
	}
}

// measureIdle finds what the processes take when nobody asks for anything.
func (m *meter) measureIdle() {
	m.rest()
	from, begun := m.processorTime(), time.Now()
	time.Sleep(2 * time.Second) // whatever passes is measured
	m.idle = (m.processorTime() - from).Seconds() / time.Since(begun).Seconds()
	m.t.Logf("at rest the processes take %.1f%% of a processor", 100*m.idle)
}
