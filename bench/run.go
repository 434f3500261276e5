package bench

// A session: experiments one after the other, each on a service of its own, and one report.

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"countersign/internal/filelock"
	"countersign/testsite"
)

// experiment measures some figures.
type experiment struct {
	name, what string
	ordinary   bool // runs by default
	private    bool // needs a private service
	run        func(*session, context.Context) error
}

func experiments() []experiment {
	return []experiment{
		{"bare", "verifying alone: openssl, Go's crypto and ours, for each kind of key", true, false, (*session).bare},
		{"uploads", "one upload at a time, first byte to last result, beside the verifiers alone; then the same again", true, false, (*session).uploads},
		{"singles", "single signings: latency on an idle service, and many at once", true, false, (*session).singles},
		{"gain", "the same work one pair a request and in bulk", true, false, (*session).gain},
		{"memory", "memory for each open upload, and with eight uploads at once", true, true, (*session).memory},
		{"sustained", "uploads in parallel for a minute", true, false, (*session).sustained},
		{"attack", "an honest user beside attacks, from other addresses and from his own", true, true, (*session).attack},
		{"store", "where ClickHouse's processor time goes, by table, inserts and merges apart", false, true, (*session).accounted},
		{"load", "uploads of a mix of your own: --algorithms, --sites, --bad, --duplicates, --rate", false, false, (*session).mixedLoad},
		{"large", "sustained with --preload hashes stored, over the same with none; takes long, and tens of GB", false, true, (*session).large},
	}
}

func experimentNames() (names []string) {
	for _, e := range experiments() {
		names = append(names, e.name)
	}
	return names
}

func needPrivate() (names []string) {
	for _, e := range experiments() {
		if e.private {
			names = append(names, e.name)
		}
	}
	return names
}

// Experiments is the manual's list of what Config.Run can name.
func Experiments() string {
	var b strings.Builder
	for _, e := range experiments() {
		mark := ""
		if e.ordinary {
			mark = " (default)"
		}
		fmt.Fprintf(&b, "  %-10s %s%s\n", e.name, e.what, mark)
	}
	return b.String()
}

// session is a running one. It is for one goroutine.
type session struct {
	Config
	report *Report
	ca     *testsite.CA
	pools  map[string]*pool
	server *server // nil: none is up
	logs   *os.File

	quickRates map[string]float64 // OpenSSL's, by algorithm
	accounting bool               // the next private service's engine keeps account of its work
}

// Run measures, prints the table to c.Out, and leaves the report in a new folder under c.Cache. It returns the report,
// also when targets are missed: whether that is a failure is the caller's to say.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Quick {
		c.quick()
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limit, fmt.Errorf("the session took longer than --limit %s", c.Limit))
	defer cancel()
	unlock, err := lockCache(c.Cache)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := os.RemoveAll(filepath.Join(c.Cache, "work")); err != nil { // of a session that was killed
		return nil, fmt.Errorf("remove what an earlier session left: %w", err)
	}
	s, err := newSession(ctx, c)
	if err != nil {
		return nil, err
	}
	defer s.logs.Close()
	started := time.Now()
	err = s.experiments(ctx)
	err = errors.Join(err, s.stop())
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("%w\nthe services' log is %s", err, s.logs.Name())
	}
	s.report.Took = time.Since(started).Round(time.Second).String()
	return s.report, s.publish()
}

// lockCache keeps two sessions from the same data, and from each other's figures.
func lockCache(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("--cache: %w", err)
	}
	f, err := filelock.Try(filepath.Join(dir, "lock"))
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("another bench uses %s (%w): wait for its end, or give --cache another folder", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("--cache: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

func newSession(ctx context.Context, c Config) (*session, error) {
	var err error
	if c.Cache, err = filepath.Abs(c.Cache); err != nil {
		return nil, err
	}
	s := &session{Config: c, pools: make(map[string]*pool), quickRates: make(map[string]float64), report: &Report{Date: time.Now(), Command: c.Command}}
	if s.ca, err = testsite.NewCA(testsite.CAConfig{Name: "countersign bench"}); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.certs(), s.results()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if s.logs, err = os.Create(filepath.Join(s.results(), "services.log")); err != nil {
		return nil, err
	}
	s.say("looking at the machine")
	look := time.Second
	if c.Quick {
		look = quietLook
	}
	s.report.Machine = describeMachine(ctx, look)
	if busy := s.report.Machine.Busy; busy > quiet {
		s.report.note("%.0f %% of the machine was in use by others before the session began: the figures are too low, and ratios are worth more than rates.", 100*busy)
	}
	if s.report.Machine.OpenSSL == "" {
		s.report.note("Figures beside OpenSSL's are missing: %v.", errNoOpenSSL)
	}
	for _, n := range c.Notes {
		s.report.note("%s", n)
	}
	if c.Quick {
		s.report.note("This was a quick session: it shows that all works, and its figures mean nothing.")
	}
	return s, nil
}

func (s *session) certs() string { return filepath.Join(s.Cache, "certs") }
func (s *session) results() string {
	return filepath.Join(s.Cache, "results", s.report.Date.UTC().Format("20060102-150405"))
}

func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.Out, "bench: "+format+"\n", args...)
}

// experiments runs those that were asked for.
func (s *session) experiments(ctx context.Context) error {
	if s.Against != "" {
		return s.compare(ctx)
	}
	for _, e := range experiments() {
		wanted := e.ordinary && !(e.private && s.URL != "")
		if len(s.Run) > 0 {
			wanted = slices.Contains(s.Run, e.name)
		}
		if !wanted {
			continue
		}
		s.say("%s: %s", e.name, e.what)
		if err := e.run(s, ctx); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// publish prints and writes the report.
func (s *session) publish() error {
	s.report.table(s.Out)
	jsonPath, htmlPath, err := s.report.write(s.results())
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	fmt.Fprintf(s.Out, "\n%s\n%s\n", jsonPath, htmlPath)
	return nil
}

// pool opens the pool of a site, once, and writes the site's chain to where the services look.
func (s *session) pool(a algorithm, number int) (*pool, error) {
	key := fmt.Sprintf("%s-%d", a.name, number)
	if p := s.pools[key]; p != nil {
		return p, nil
	}
	p, err := openPool(s.Cache, a, number, s.DataLimit)
	if err != nil {
		return nil, err
	}
	site, err := s.ca.NewSite(p.site, testsite.SiteConfig{Keys: []crypto.Signer{p.key}})
	if err != nil {
		return nil, err
	}
	if _, err := site.WriteChain(s.certs()); err != nil {
		return nil, err
	}
	if s.URL != "" {
		if err := p.resume(); err != nil {
			return nil, err
		}
	}
	s.pools[key] = p
	return p, nil
}

// ensure makes pairs, and says so where that takes long.
func (s *session) ensure(ctx context.Context, p *pool, n int) error {
	last := time.Now()
	return p.ensure(ctx, n, func(done, of int) {
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			s.say("signing: %s of %s pairs for %s", number(float64(done)), number(float64(of)), p.site)
		}
	})
}

// startEmpty starts a private service that has nothing stored, in place of the one before. With --url the running one
// stays.
func (s *session) startEmpty(ctx context.Context, flags ...string) error {
	if err := s.stop(); err != nil {
		return err
	}
	if s.URL != "" {
		var err error
		s.server, err = existing(s.URL, s.Admin)
		return err
	}
	var err error
	if s.server, err = s.start(ctx, s.Binary, flags...); err != nil {
		return err
	}
	for _, p := range s.pools {
		p.rewind()
	}
	return nil
}

// start runs a program's service.
func (s *session) start(ctx context.Context, binary string, flags ...string) (*server, error) {
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the program beside this one, to start a private service: %w; give --binary", err)
		}
		binary = filepath.Join(filepath.Dir(self), "countersign")
	}
	return startPrivate(ctx, privateConfig{
		binary: binary, certs: s.certs(), parent: filepath.Join(s.Cache, "work"), logFile: s.logs,
		flags: append(append([]string(nil), s.ServeFlags...), flags...), accounting: s.accounting,
	})
}

// stop ends the service, and notes what a running one was given.
func (s *session) stop() error {
	if s.server == nil {
		return nil
	}
	err := s.server.stop()
	s.server = nil
	if s.URL != "" {
		for _, p := range s.pools {
			err = errors.Join(err, p.remember())
		}
	}
	return err
}

// settle lets the machine come to rest between two contestants.
func (s *session) settle(ctx context.Context) {
	if !s.Quick && !settle(ctx) {
		s.report.note("The machine did not come to rest between some of the measurements: others used it, or the engine was still merging.")
	}
}

// rounds calls measure for every round; those that are for warming up get record false.
func (s *session) rounds(ctx context.Context, measure func(record bool) error) error {
	for i := range s.Warmup + s.Rounds {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := measure(i >= s.Warmup); err != nil {
			return err
		}
	}
	return nil
}

// openssl measures OpenSSL; 0 where it is missing. A quick session measures it once for each kind of key.
func (s *session) openssl(ctx context.Context, a algorithm) (float64, error) {
	if rate, ok := s.quickRates[a.name]; ok && s.Quick {
		return rate, nil
	}
	rate, err := opensslSpeed{seconds: max(1, int(s.Slice.Round(time.Second)/time.Second)), cores: runtime.NumCPU()}.verifyRate(ctx, a)
	if errors.Is(err, errNoOpenSSL) {
		return 0, nil
	}
	s.quickRates[a.name] = rate
	return rate, err
}
