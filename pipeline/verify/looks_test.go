package verify

// A signature is called bad only by a fresh look. Rotation, nodes with certificates of their own, and sites that go
// away, in virtual time.

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"countersign/pipeline/certs"
	"countersign/testsite"
)

const rounds = 20

// inBubble runs a stage on l while do works.
func inBubble(t *testing.T, l *memoryLog, f *fakeCerts, memory int64, do func(ctx context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Hour)
		defer cancel()
		_, crash := start(ctx, t, &memoryPartition{log: l, next: l.committed}, l, f, memory)
		defer crash()
		do(ctx)
		if !l.await(ctx, l.done) {
			t.Error("the stage came to rest elsewhere")
		}
	})
}

func goodPairs(n int) []string { return slices.Repeat([]string{isGood}, n) }

func rotate(t *testing.T, f *fakeCerts, site *testsite.Site) {
	t.Helper()
	if err := site.Rotate(testsite.SiteConfig{Curve: elliptic.P256()}); err != nil {
		t.Fatal(err)
	}
	f.serve(t, site.Name, site)
}

func bothMemories(t *testing.T, test func(t *testing.T, memory int64)) {
	for _, memory := range []int64{0, 1 << 30} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) { test(t, memory) })
	}
}

// Somebody sends a bad signature, the site renews its certificate a moment later, and its next upload is signed with
// the new key.
func TestABadSignatureBeforeARotationHarmsNobody(t *testing.T) {
	bothMemories(t, func(t *testing.T, memory int64) {
		var f fakeCerts
		l := newMemoryLog()
		site := newSite(t, &f, "example.com")
		var all []*source
		inBubble(t, l, &f, memory, func(ctx context.Context) {
			for i := range rounds {
				hostile := newSource(site, fmt.Sprint("hostile", i), []string{isBad}, 1)
				hostile.write(l)
				l.await(ctx, l.done)
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				rotate(t, &f, site)
				good := newSource(site, fmt.Sprint("good", i), goodPairs(20), 10)
				good.write(l)
				all = append(all, hostile, good)
				l.await(ctx, l.done)
			}
		})
		check(t, l, all...)
	})
}

// A name leads to two nodes with a certificate each, and a look meets one of them.
func TestASiteOfTwoNodes(t *testing.T) {
	bothMemories(t, func(t *testing.T, memory int64) {
		var f fakeCerts
		l := newMemoryLog()
		ca, err := testsite.NewCA(testsite.CAConfig{})
		if err != nil {
			t.Fatal(err)
		}
		var nodes []*testsite.Site
		for range 2 {
			node, err := ca.NewSite("nodes.example", testsite.SiteConfig{Curve: elliptic.P256()})
			if err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, node)
		}
		leaves := [][]certs.Leaf{leavesOf(t, nodes[0]), leavesOf(t, nodes[1])}
		looks := 0
		f.look = func(string) ([]certs.Leaf, error) {
			looks++
			return slices.Clone(leaves[looks%2]), nil
		}
		var all []*source
		inBubble(t, l, &f, memory, func(ctx context.Context) {
			for i := range rounds {
				for n, node := range nodes {
					s := newSource(node, fmt.Sprint(i, n), append(goodPairs(9), isBad), 5)
					s.write(l)
					all = append(all, s)
				}
				l.await(ctx, l.done)
			}
		})
		check(t, l, all...)
	})
}

// From RSA to ECDSA: what the old key signed before is good for as long as the site was seen with it.
func TestASiteThatChangesItsKindOfKey(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	var all []*source
	inBubble(t, l, &f, 1<<30, func(ctx context.Context) {
		first := newSource(site, "first", goodPairs(3), 10)
		first.write(l)
		l.await(ctx, l.done)
		all = append(all, first)
		for i := range rounds {
			old := newSource(site, fmt.Sprint("old", i), goodPairs(5), 10)
			curve := []elliptic.Curve{elliptic.P384(), elliptic.P256()}[i%2]
			if err := site.Rotate(testsite.SiteConfig{Curve: curve}); err != nil {
				t.Fatal(err)
			}
			f.serve(t, site.Name, site)
			renewed := newSource(site, fmt.Sprint("new", i), goodPairs(5), 10)
			renewed.write(l)
			old.write(l)
			all = append(all, old, renewed)
			l.await(ctx, l.done)
		}
	})
	check(t, l, all...)
}

// An old certificate expires: what it signed afterwards is bad, and what the new one signed is good.
func TestALeafThatIsPastCountsNoMore(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	before, after := newSource(site, "before", goodPairs(4), 10), newSource(site, "after", goodPairs(4), 10)
	renewed := (*source)(nil)
	inBubble(t, l, &f, 1<<30, func(ctx context.Context) {
		before.write(l)
		l.await(ctx, l.done)
		rotate(t, &f, site)
		f.mu.Lock()
		clear(f.known)
		f.mu.Unlock()
		renewed = newSource(site, "renewed", goodPairs(4), 10)
		renewed.write(l)
		after.write(l)
	})
	after.kinds = slices.Repeat([]string{isBad}, 4)
	check(t, l, before, after, renewed)
}

// A site goes away between two uploads. What its known leaf signed is good. What fails is an error with the reason, and
// not bad.
func TestASiteThatGoesAway(t *testing.T) {
	bothMemories(t, func(t *testing.T, memory int64) {
		var f fakeCerts
		l := newMemoryLog()
		site := newSite(t, &f, "example.com")
		var all []*source
		inBubble(t, l, &f, memory, func(ctx context.Context) {
			for i := range rounds {
				here := newSource(site, fmt.Sprint("here", i), append(goodPairs(5), isBad), 10)
				here.write(l)
				l.await(ctx, l.done)
				f.mu.Lock()
				f.err = &certs.Unavailable{Site: site.Name, Reason: "nobody home", Err: errors.New("refused")}
				f.mu.Unlock()
				away := newSource(site, fmt.Sprint("away", i), append(goodPairs(5), isBad, isUnparsed), 10)
				away.write(l)
				l.await(ctx, l.done)
				f.mu.Lock()
				f.err = nil
				f.mu.Unlock()
				away.kinds[5] = "nobody home"
				all = append(all, here, away)
			}
		})
		check(t, l, all...)
		run(t, l, &f, memory, l.done) // and a replay says the same
		check(t, l, all...)
	})
}

// A crash after each decision changes nothing of what failed for a reason.
func TestAReplayOfErrorsIsTheSame(t *testing.T) {
	var f fakeCerts
	l := newMemoryLog()
	site := newSite(t, &f, "example.com")
	known := newSource(site, "known", goodPairs(1), 10)
	known.write(l)
	run(t, l, &f, 0, l.done)
	f.err = &certs.Unavailable{Site: site.Name, Reason: "nobody home"}
	s := newSource(site, "", append(goodPairs(5), isBad), 3)
	s.write(l)
	sealed := l.end()
	l.fault = func(topic string) (bool, error) {
		if topic == "verified" {
			return false, errors.New("the log is away")
		}
		return true, nil
	}
	run(t, l, &f, 1<<30, func() bool { return int64(len(l.topics["uploads/0"])) > sealed })
	l.fault, f.err = nil, nil
	run(t, l, &f, 0, l.done)
	s.kinds[5] = "nobody home"
	check(t, l, known, s)
}
