package certs

// Sites is the door of the package: what is known of a site, and a look where that is not enough.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"countersign/internal/fair"
	"countersign/internal/health"
	"countersign/internal/hostname"
)

var (
	// ErrClosed is wrapped by the errors of a Sites that was closed before it found out: it says nothing about the
	// site.
	ErrClosed = errors.New("looking at sites has ended")
	// ErrNoTurn is wrapped by an [Unavailable] that comes because too many other sites are being asked. Its Reason says
	// so, and to send the signatures again.
	ErrNoTurn = errors.New("too many sites are being asked for their certificates")
	// ErrNoAnswer is wrapped by an [Unavailable] that comes because the caller's time ended before the site's answer
	// came. Its Reason says so, and to send the signatures again.
	ErrNoAnswer = errors.New("the site has not answered yet")
)

// Config says where certificates come from and how long they count. The zero value asks the public Internet. bounds.go
// has what can't be configured.
type Config struct {
	// Dir is a folder of files named SITE.pem, asked before the network (--cert-dir). A file holds chains in PEM, each
	// leaf followed by its issuers. Empty: there is none.
	Dir string
	// Network says how sites are asked that have no file in Dir.
	Network NetworkConfig
	// Grace is how long a leaf counts after the site was seen serving it, unless it expires sooner (--cert-grace). 0:
	// [UsualGrace].
	Grace time.Duration
	// Clock is what Grace, validity and Interval are measured with. Nil: time.Now.
	Clock func() time.Time
	// Logger gets which certificates in Dir can't be read and, at debug level, which addresses of a site gave none. Nil:
	// nothing is logged.
	Logger *slog.Logger
	// Registerer exports the metrics. Nil: none are exported.
	Registerer prometheus.Registerer

	source source // in place of the network, for tests
}

// withDefaults returns the configuration with its gaps filled, or an error that says what can't be.
func (c Config) withDefaults() (Config, error) {
	if c.Grace < 0 {
		return c, fmt.Errorf("certificates: the grace period is %s; it must be positive, or 0 for %s", c.Grace, UsualGrace)
	}
	if c.Grace == 0 {
		c.Grace = UsualGrace
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Network.Clock, c.Network.Logger = c.Clock, c.Logger
	return c, nil
}

// Sites knows by what sites may be verified, and looks at them. It is safe for concurrent use. Close ends its looks.
type Sites struct {
	config  Config
	dir     *dir // nil: there is none
	keys    keyCache
	metrics *metrics
	network *network // nil: Config.source stands in for it

	queue  *fair.Queue[account, *turn]
	places chan struct{} // an element for each look that runs, and one for the look that dispatch waits for

	ctx     context.Context // of every look
	cancel  context.CancelFunc
	working sync.WaitGroup // dispatch, and the looks over the network

	mu     sync.Mutex // guards what follows, and the fields of asked, look and memory
	closed bool
	memory *memory
	asked  map[string]*asked // by site
	queued map[account]int   // turns that are waited for
	turns  int               // of queue
}

// New makes a Sites that knows nothing yet. The error is about the configuration.
func New(config Config) (*Sites, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	keys, err := newKeyCache(maxKeys)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sites{
		config: config, keys: keys,
		queue: fair.New[account, *turn](maxRunningOfAccount, 0), places: make(chan struct{}, maxRunning),
		ctx: ctx, cancel: cancel,
		memory: newMemory(config.Grace, maxMemory), asked: make(map[string]*asked), queued: make(map[account]int),
	}
	if config.source == nil {
		network := newNetwork(config.Network)
		s.config.source, s.network = network.look, network
	}
	if config.Dir != "" {
		s.dir = newDir(config.Dir, config.Clock, config.Logger)
		s.dir.nameStrays()
	}
	s.metrics = newMetrics(config.Registerer, s)
	s.working.Go(s.dispatch)
	return s, nil
}

// Close ends the looks under way and waits for them. Afterwards what is known can still be had. Whatever needs a look
// fails with [ErrClosed].
func (s *Sites) Close() {
	s.mu.Lock()
	s.closed = true
	for site, a := range s.asked {
		if a.next != nil {
			s.end(a, a.next, answer{err: closedWhile(site)})
		}
	}
	s.mu.Unlock()
	s.cancel()
	s.working.Wait()
}

func closedWhile(site string) error {
	return fmt.Errorf("getting the certificate of %s: %w", site, ErrClosed)
}

// Known is what site may be verified by, as far as that is known now: Known asks nobody and doesn't wait.
func (s *Sites) Known(site string) Known {
	s.mu.Lock()
	sightings, looked := s.memory.get(site, s.config.Clock())
	s.mu.Unlock()
	known, err := s.known(sightings, looked)
	if err != nil {
		return Known{} // every leaf had a key when it was seen
	}
	return known
}

// known makes the keys of sightings.
func (s *Sites) known(sightings []sighting, looked time.Time) (Known, error) {
	known := Known{Looked: looked}
	for _, seen := range sightings {
		key, err := s.keys.of(seen.chain)
		if err != nil {
			return Known{}, err
		}
		known.Leaves = append(known.Leaves, Leaf{Chain: seen.chain, Key: key, Seen: seen.seen})
	}
	return known, nil
}

// Await is for signatures of a site of which nothing may be known. It gives what is known. Where that is nothing, it
// gives what the next look finds, which may have begun before the call, or the error of a look that ended less than
// [Interval] ago. client is as for Look, and so are the errors, beside which something may be known.
func (s *Sites) Await(ctx context.Context, site, client string) (Known, error) {
	if known := s.Known(site); len(known.Leaves) > 0 {
		return known, nil
	}
	return s.look(ctx, site, client, nil)
}

// Look is for signatures that fail under everything that is known. It gives what is known after a look at the site that
// began after since, which all callers share that it can serve. It waits for such a look, at most until ctx ends, and
// at most for [MaxWait].
//
// since is when the signatures arrived, by Config.Clock and in this process. A moment that lies ahead counts as now.
// client is whom the look is charged to, beside the site's domain: 8 bytes that stand for the address of the client
// that sent the signatures, or nothing where that is not known.
//
// The error is an *[Unavailable] where the look found no leaf, where ctx's deadline came first, and where no turn came,
// or none at an address of the site.
// Known is then what is known all the same: a signature that fails under it is not bad, but undecided.
// Otherwise the error says nothing about the site: it wraps ctx's error where ctx was cancelled, or [ErrClosed].
func (s *Sites) Look(ctx context.Context, site, client string, since time.Time) (Known, error) {
	if now := s.config.Clock(); since.After(now) {
		since = now
	}
	return s.look(ctx, site, client, &since)
}

// look is Look, and with no since the part of Await that asks.
func (s *Sites) look(ctx context.Context, site, client string, since *time.Time) (Known, error) {
	if hostname.Check(site) != nil {
		return Known{}, notAHostName(site)
	}
	if s.dir != nil {
		if found, err := s.dir.look(ctx, site); !errors.Is(err, errUnknownSite) {
			return s.lookedAtFile(site, found, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	answer := s.wait(ctx, s.join(site, client, since))
	if answer.err != nil {
		return s.Known(site), answer.err
	}
	return s.known(answer.sightings, answer.looked)
}

// lookedAtFile is the answer of a file. All chains of the file count as seen now.
func (s *Sites) lookedAtFile(site string, found []found, err error) (Known, error) {
	if err == nil {
		err = s.prepare(site, found)
	}
	s.metrics.counted("file", false, err)
	if err != nil {
		return s.Known(site), err
	}
	now := s.config.Clock()
	s.mu.Lock()
	s.memory.see(site, found, true, now, now)
	s.mu.Unlock()
	return s.Known(site), nil
}

// prepare makes the keys of what was found, so that what is remembered has keys.
func (s *Sites) prepare(site string, found []found) error {
	err := error(nil)
	if len(found) == 0 {
		err = errors.New("no chain was found")
	}
	for _, f := range found {
		if err == nil {
			_, err = s.keys.of(f.chain)
		}
	}
	if err == nil {
		return nil
	}
	return unusable(site, err)
}

// unusable is what the uploader reads of an error that no source promises to give.
func unusable(site string, err error) *Unavailable {
	reason := site + ": its certificate can't be used; tell the operator of this service"
	return &Unavailable{Site: site, Reason: reason, Err: err}
}

// KeysOf makes the keys of chains, in their order, without asking whether the certificates are valid now: it serves
// chains that an upload was decided by before. Keys are shared. It asks nobody.
func (s *Sites) KeysOf(chains []Chain) ([]Key, error) {
	keys := make([]Key, 0, len(chains))
	for _, chain := range chains {
		key, err := s.keys.of(chain)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Checks are what the board of health should ask: whether Config.Dir is there. Without one there are none.
func (s *Sites) Checks() []health.Check {
	if s.dir == nil {
		return nil
	}
	return []health.Check{{Name: "certificates", Probe: s.dir.probe}}
}
