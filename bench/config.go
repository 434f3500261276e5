package bench

// What a session can be told. The command binds flags to it.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is a session. Its zero value, with Default's gaps filled, measures the figures that the project promises.
type Config struct {
	// Run names the experiments, in order; see Experiments. Empty: those that are marked as default.
	Run []string
	// Quick shrinks everything until it takes seconds: the figures mean nothing, but all code has run.
	Quick bool

	// URL is a running service to measure instead of a private one, http://host:port; it must have been started with
	// --cert-dir set to the folder certs of Cache. Admin is its admin address, host:port; without it, its memory isn't
	// measured.
	URL, Admin string
	// Binary is the countersign program whose private service is measured. Empty: countersign beside the running
	// program.
	Binary string
	// Against is another such program: both are measured, in turns, and nothing else is.
	Against string
	// ServeFlags are added to the private services' command line.
	ServeFlags []string

	// Pairs in one upload.
	Pairs int
	// Concurrency is how many uploads are open at a time under load, Duration how long the load lasts.
	Concurrency int
	Duration    time.Duration

	// The rest of a load's shape is only used by the experiment load. Algorithms are names with weights,
	// "rsa2048=3,p256=1". Sites is how many sites there are for each. Bad and Duplicates are shares of the pairs, 0 to
	// 1. Rate is uploads a second for an open loop; 0: a closed one.
	Algorithms      string
	Sites           int
	Bad, Duplicates float64
	Rate            float64

	// Attacks names those that the experiment attack makes, each by itself and then together. Empty: all of them.
	Attacks []string

	// Rounds are measured after Warmup rounds that are not. Slice is how long each bare verifier runs in a round.
	Warmup, Rounds int
	Slice          time.Duration

	// Preload is how many hashes the experiment large stores beforehand, PreloadSignature the bytes of their
	// signatures.
	Preload, PreloadSignature int

	// Cache is the folder of keys, pairs and results. DataLimit bounds one site's pairs, in bytes.
	Cache     string
	DataLimit int64
	// Limit ends a session that takes longer.
	Limit time.Duration

	// Out receives the table and what is going on. Command and Notes are put into the report.
	Out     io.Writer
	Command []string
	Notes   []string
}

// Default is the session of `make bench`.
func Default() Config {
	return Config{
		Pairs: 100_000, Concurrency: 8, Duration: time.Minute,
		Algorithms: "rsa2048", Sites: 1,
		Warmup: 1, Rounds: 5, Slice: time.Second,
		Preload: 100_000_000, PreloadSignature: 256,
		Cache: filepath.Join(".cache", "bench"), DataLimit: 10 << 30,
		Limit: time.Hour,
	}
}

// quick shrinks what is at its default or above.
func (c *Config) quick() {
	c.Pairs = min(c.Pairs, 2_000)
	c.Concurrency = min(c.Concurrency, 2)
	c.Duration = min(c.Duration, time.Second)
	c.Warmup, c.Rounds = 0, 1
	c.Slice = min(c.Slice, 50*time.Millisecond)
	c.Preload = min(c.Preload, 10_000)
}

// check reports all that is wrong.
func (c *Config) check() error {
	var problems []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	for _, name := range c.Run {
		wrong(!slices.ContainsFunc(experiments(), func(e experiment) bool { return e.name == name }),
			"--run %s: there are %s", name, strings.Join(experimentNames(), ", "))
	}
	for _, name := range c.Attacks {
		wrong(!slices.Contains(attackNames(), name), "--attacks %s: there are %s", name, strings.Join(attackNames(), ", "))
	}
	wrong(c.Pairs < 1, "--pairs must be at least 1")
	wrong(c.Concurrency < 1 || c.Concurrency > 10_000, "--concurrency %d: 1 to 10,000", c.Concurrency)
	wrong(c.Duration <= 0, "--duration must be more than 0")
	wrong(c.Sites < 1 || c.Sites > 1000, "--sites %d: 1 to 1,000", c.Sites)
	wrong(c.Bad < 0 || c.Duplicates < 0 || c.Bad+c.Duplicates > 1, "--bad %v and --duplicates %v: shares from 0 to 1, 1 together at most", c.Bad, c.Duplicates)
	wrong(c.Rate < 0, "--rate can't be negative")
	wrong(c.Warmup < 0 || c.Rounds < 1, "--warmup must be at least 0 and --rounds at least 1")
	wrong(c.Slice <= 0 || c.Limit <= 0, "--slice and --limit must be more than 0")
	wrong(c.Preload < 1 || c.PreloadSignature < 0, "--preload must be at least 1")
	wrong(c.Cache == "", "--cache must name a folder")
	wrong(c.URL != "" && (c.Binary != "" || c.Against != "" || len(c.ServeFlags) > 0), "--url measures a running service: --binary, --against and --serve-flag are for private ones")
	wrong(c.URL == "" && c.Admin != "", "--admin goes with --url")
	if c.URL != "" {
		_, err := existing(c.URL, c.Admin)
		wrong(err != nil, "%v", err)
		for _, name := range c.Run {
			wrong(slices.Contains(needPrivate(), name), "--run %s needs a private service: leave --url out", name)
		}
	}
	for _, program := range []string{c.Binary, c.Against} {
		if program != "" {
			_, err := os.Stat(program)
			wrong(err != nil, "%v; build the program first", err)
		}
	}
	_, err := c.weights()
	wrong(err != nil, "--algorithms: %v", err)
	return errors.Join(problems...)
}

// weighted is an algorithm and its part of a load.
type weighted struct {
	algorithm
	weight int
}

// weights reads Algorithms.
func (c *Config) weights() ([]weighted, error) {
	var all []weighted
	for part := range strings.SplitSeq(c.Algorithms, ",") {
		name, text, given := strings.Cut(strings.TrimSpace(part), "=")
		a, err := findAlgorithm(name)
		if err != nil {
			return nil, err
		}
		weight := 1
		if given {
			if weight, err = strconv.Atoi(text); err != nil || weight < 1 || weight > 1000 {
				return nil, fmt.Errorf("%q: the weight must be 1 to 1,000", part)
			}
		}
		all = append(all, weighted{a, weight})
	}
	return all, nil
}
