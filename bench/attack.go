package bench

// An honest user under attack: first alone, then beside each attack, then beside all of them together, then alone
// again. The attackers come from other addresses of loopback, and after that from the honest user's own.
//
// Generator, attackers and service share the machine's cores, so what an attack costs the generator is bounded; the
// report says how much of the cores it took.

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"
)

// plan is how large the attacks are.
type plan struct {
	pairs                  int // of an honest upload
	uploadEvery, signEvery time.Duration
	quiet, phase           time.Duration // how long the honest user is alone, and beside each attack
	recovery               time.Duration // how long after the last attack everything must be as before
	settleEach             bool          // wait for the results of each attack before the next one; else at the end

	addresses         int     // of the attackers
	silent            int     // sites that never answer
	bomb              int     // pairs of a large bomb
	slowKeys          float64 // worker time that garbage for slow keys takes, in units of 40 s
	reads             int     // connections that ask for what isn't there
	fewSlow, manySlow int     // slow bodies
	valid             int     // sites that answer
	stored            int     // hashes of which there are duplicates
}

// files is how many the generator has open at most: all attacks together, and the listeners of the sites.
func (p *plan) files() int { return p.reads + p.fewSlow + p.manySlow + p.valid + 1500 }

// fullPlan is that of `make bench`. during is the time of a load.
func fullPlan(during time.Duration) plan {
	return plan{
		pairs: 20_000, uploadEvery: 2500 * time.Millisecond, signEvery: 200 * time.Millisecond,
		quiet: during / 2, phase: during / 3, recovery: during, settleEach: true,
		addresses: 16, silent: 10_000, bomb: 1_000_000, slowKeys: (during / 3).Seconds() / 20, reads: 4000, fewSlow: 64, manySlow: 8192, valid: 1000, stored: 1_000_000,
	}
}

// quickPlan takes seconds.
func quickPlan() plan {
	return plan{
		pairs: 500, uploadEvery: 500 * time.Millisecond, signEvery: 250 * time.Millisecond,
		quiet: time.Second, phase: 800 * time.Millisecond, recovery: time.Second,
		addresses: 16, silent: 100, bomb: 20_000, slowKeys: 0.01, reads: 100, fewSlow: 16, manySlow: 96, valid: 20, stored: 2000,
	}
}

// attackNames are those of the attacks, in the order of the report.
func attackNames() []string {
	return []string{"silent", "bombs", "slow-keys", "reads", "few-slow", "many-slow", "valid", "duplicates"}
}

// siege is the experiment under way.
type siege struct {
	*session
	plan
	sites   *attackSites
	honest  *honestUser
	attacks []attack
	stands  []*stand
}

// stand is a stretch of time in which the honest user stood, and what was seen.
type stand struct {
	title     string
	own       bool // the attackers had the honest user's address
	bounded   bool // latencies must keep their bounds
	begun     time.Time
	usage     usage
	memory    memory
	log       logSize // growth
	generator float64 // share of the cores that this process used
	fronts    []*front
	unsettled error // why the attackers' uploads have no results
}

// attack is the experiment.
func (s *session) attack(ctx context.Context) (err error) {
	a := &siege{session: s, plan: fullPlan(s.Duration)}
	if s.Quick {
		a.plan = quickPlan()
	}
	if err := a.fitDescriptors(); err != nil {
		return err
	}
	if a.sites, err = newAttackSites(s.ca, filepath.Join(s.Cache, "work")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop(), a.sites.close()) }()
	if err := a.prepare(ctx); err != nil {
		return err
	}
	if err := a.course(ctx); err != nil {
		return err
	}
	for _, st := range a.stands {
		if err := st.settle(ctx); err != nil {
			return err
		}
	}
	a.publish()
	if err = a.wrong(); err != nil { // there will be no report
		for _, t := range s.report.Tables {
			t.markdown(s.Out)
		}
	}
	return err
}

// fitDescriptors has the system allow as many connections as the plan has, or the plan have as many as it allows.
func (a *siege) fitDescriptors() error {
	have, err := descriptors(a.files())
	if err != nil {
		return err
	}
	if have < a.files() {
		wanted := a.manySlow
		for a.manySlow > a.fewSlow && a.files() > have {
			a.manySlow /= 2
		}
		a.session.report.note("There are at most %d open files (ulimit -n), so the attack with %s slow bodies has %s.", have, number(float64(wanted)), number(float64(a.manySlow)))
	}
	return nil
}

// prepare makes the sites and what is sent for them, and starts the service.
func (a *siege) prepare(ctx context.Context) error {
	honest, err := a.served(ctx, "rsa2048", a.need())
	if err != nil {
		return err
	}
	known, err := a.served(ctx, "p256", a.stored)
	if err != nil {
		return err
	}
	if err := errors.Join(a.sites.addValid(a.valid), a.sites.addSilent(a.silent)); err != nil {
		return err
	}
	keys, posts, err := a.slowKeyPosts()
	if err != nil {
		return err
	}
	flags, err := a.sites.settings()
	if err != nil {
		return err
	}
	if err := a.startEmpty(ctx, append(flags, attackLogMax)...); err != nil {
		return err
	}
	stored, err := a.store(ctx, known)
	if err != nil {
		return err
	}
	pair, err := known.texts(0, 1)
	if err != nil {
		return err
	}
	bombs, err := makeBombs(a.bomb, a.sites.unreachable, known.site, pair[0])
	if err != nil {
		return err
	}
	a.honest = &honestUser{server: a.server, pool: honest, pairs: a.pairs, uploadEvery: a.uploadEvery, signEvery: a.signEvery}
	a.attacks = a.chosen([]attack{
		silentPosts(a.sites.silentNames, a.phase), bombing(bombs), garbageForSlowKeys(keys, posts, a.phase), randomReads(a.reads),
		slowBodies("few-slow", a.fewSlow), slowBodies("many-slow", a.manySlow), validPosts(a.sites.valid, a.phase), duplicates(stored, a.phase),
	})
	return nil
}

// chosen are the attacks that the session is for.
func (a *siege) chosen(all []attack) []attack {
	if len(a.Attacks) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(one attack) bool { return !slices.Contains(a.Attacks, one.name) })
}

// served opens the pool of a site that serves its certificate, with n pairs that were never sent.
func (a *siege) served(ctx context.Context, name string, n int) (*pool, error) {
	algorithm, err := findAlgorithm(name)
	if err != nil {
		return nil, err
	}
	p, err := a.pool(algorithm, 0)
	if err != nil {
		return nil, err
	}
	p.rewind()
	if err := a.ensure(ctx, p, n); err != nil {
		return nil, err
	}
	_, err = a.sites.serve(p.site, p.key)
	return p, err
}

// slowKeyPosts makes what is sent for slow keys.
func (a *siege) slowKeyPosts() ([]slowKey, []*posted, error) {
	keys, err := slowKeys(a.slowKeys)
	if err != nil {
		return nil, nil, err
	}
	posts := make([]*posted, len(keys))
	for i, k := range keys {
		if posts[i], err = k.post(); err != nil {
			return nil, nil, err
		}
		if err := a.sites.onFile(k.name, k.key); err != nil {
			return nil, nil, err
		}
	}
	return keys, posts, nil
}

// store uploads what there will be duplicates of.
func (a *siege) store(ctx context.Context, p *pool) ([]*body, error) {
	const uploads = 10
	var stored []*body
	_, err := load{workers: 1, count: uploads}.run(ctx, a.server, func() (*body, error) {
		b, err := p.unsent(a.stored / uploads)
		stored = append(stored, b)
		return b, err
	})
	return stored, err
}

// need is how many pairs the honest user sends.
func (a *siege) need() int {
	uploads, signings := 0, 0
	stretch := func(d time.Duration) {
		uploads, signings = uploads+int(d/a.uploadEvery)+1, signings+int(d/a.signEvery)+1
	}
	stretch(a.phase) // to warm up
	stretch(a.quiet)
	for range 2 {
		for range len(attackNames()) + 2 {
			stretch(a.phase)
		}
		stretch(a.recovery)
	}
	return uploads*a.pairs + signings
}

// course is the honest user's way through all of it.
func (a *siege) course(ctx context.Context) error {
	if _, err := a.honest.during(ctx, a.phase); err != nil { // to warm up
		return err
	}
	if err := a.alone(ctx, &stand{title: "quiet"}, a.quiet); err != nil {
		return err
	}
	other := make([]netip.Addr, a.addresses)
	for i := range other {
		other[i] = netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)})
	}
	for _, from := range [][]netip.Addr{other, {netip.AddrFrom4([4]byte{127, 0, 0, 1})}} {
		own := len(from) == 1
		for _, one := range a.attacks {
			if err := a.under(ctx, one.title, own, from, one); err != nil {
				return err
			}
		}
		if len(a.attacks) > 1 {
			if err := a.under(ctx, "all together", own, from, a.attacks...); err != nil {
				return err
			}
		}
		if err := a.alone(ctx, &stand{title: fmt.Sprintf("the %s after", a.recovery), own: own}, a.recovery); err != nil {
			return err
		}
		if err := a.alone(ctx, &stand{title: "then", own: own, bounded: true}, a.phase); err != nil {
			return err
		}
	}
	return nil
}

// alone lets the honest user work without anybody else.
func (a *siege) alone(ctx context.Context, s *stand, d time.Duration) error {
	err := a.stand(ctx, s, d)
	if err == nil {
		a.say("attack: %s", s)
	}
	return err
}

// under lets the honest user work beside attacks, and then waits until what they sent is done with.
func (a *siege) under(ctx context.Context, title string, own bool, from []netip.Addr, attacks ...attack) error {
	s := &stand{title: title, own: own, bounded: !own}
	attacking, stop := context.WithCancel(ctx)
	defer stop()
	for _, one := range attacks {
		f := &front{attack: one, server: a.server, from: from}
		s.fronts = append(s.fronts, f)
		one.start(attacking, f)
	}
	err := a.resist(ctx, s, stop)
	for _, f := range s.fronts {
		f.group.Wait()
	}
	if err != nil {
		return err
	}
	a.say("attack: %s", s)
	if a.settleEach {
		return s.settle(ctx)
	}
	return nil
}

// resist lets the honest user work when all attacks are under way, and stops them after their time.
func (a *siege) resist(ctx context.Context, s *stand, stop func()) error {
	defer stop()
	for _, f := range s.fronts {
		if err := f.waitUnderway(ctx); err != nil {
			return err
		}
	}
	timer := time.AfterFunc(a.phase, stop)
	defer timer.Stop()
	return a.stand(ctx, s, a.phase)
}

// settle waits until what was sent beside the honest user is done with, and looks at its results.
func (s *stand) settle(ctx context.Context) error {
	for _, f := range s.fronts {
		s.unsettled = errors.Join(s.unsettled, f.results(ctx))
	}
	return ctx.Err()
}

// stand lets the honest user work for a while, and notes what was seen.
func (a *siege) stand(ctx context.Context, s *stand, d time.Duration) error {
	who := ""
	if s.own {
		who = ", from the honest user's address"
	}
	a.say("attack: %s%s", s.title, who)
	before, err := a.server.logSize(ctx)
	if err != nil {
		return err
	}
	s.begun = time.Now()
	used := cpuSeconds()
	seen := a.server.watch(ctx, min(d/20, time.Second))
	s.usage, err = a.honest.during(ctx, d)
	s.memory = seen()
	s.generator = (cpuSeconds() - used) / time.Since(s.begun).Seconds() / float64(a.session.report.Machine.Cores)
	if err != nil {
		return err
	}
	after, err := a.server.logSize(ctx)
	s.log = after.since(before)
	a.stands = append(a.stands, s)
	return err
}
