package admission

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func peer(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// seed is what the choice of connections begins with in tests.
func seed() *bytes.Reader { return bytes.NewReader(make([]byte, 16)) }

func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	for _, addresses := range []int{1, 200, 8192} {
		t.Run(fmt.Sprint(addresses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newAdmission(t, Config{Random: seed()}).Connections
				hungUp := 0
				for i := range 20_000 {
					_, _ = c.Open(peer(1000+i%addresses), func() { hungUp++ })
				}
				time.Sleep(2 * time.Second)
				for range 2 {
					if _, err := c.Open(peer(1), func() { t.Error("the honest connection was hung up") }); err != nil {
						t.Error(err)
					}
				}
				if open, _ := c.count(); open != 8192 || hungUp < 1 {
					t.Errorf("%d are open, %d were hung up", open, hungUp)
				}
			})
		})
	}
}

func TestOneClientAloneHasAllConnections(t *testing.T) {
	c := newAdmission(t, Config{MaxConnections: 10}).Connections
	for range 10 {
		if _, err := c.Open(peer(1), func() { t.Error("a connection was hung up") }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Open(peer(1), nil); reasonOf(t, err) != Full {
		t.Errorf("the one too many got %v", err)
	}
}

func TestRequestsUnderWayAreNotHungUp(t *testing.T) {
	c := newAdmission(t, Config{MaxConnections: 2}).Connections
	hungUp := 0
	first, _ := c.Open(peer(1), func() { hungUp++ })
	second, _ := c.Open(peer(1), func() { hungUp++ })
	first.Busy()
	second.Busy()
	if _, err := c.Open(peer(2), nil); reasonOf(t, err) != Full || hungUp != 0 {
		t.Errorf("got %v, %d were hung up", err, hungUp)
	}
	second.Idle()
	if _, err := c.Open(peer(2), nil); err != nil || hungUp != 1 || !second.closed {
		t.Errorf("got %v, %d were hung up", err, hungUp)
	}
	second.Idle() // a handler that ends after the hang-up
	second.Close()
	if open, _ := c.count(); open != 2 || len(c.idle) != 1 {
		t.Errorf("%d are open, %d are idle", open, len(c.idle))
	}
}

func TestTrustedProxiesAreNotHungUp(t *testing.T) {
	c := newAdmission(t, Config{MaxConnections: 3, TrustedProxies: Proxies{netip.PrefixFrom(peer(1), 32)}}).Connections
	for range 2 {
		if _, err := c.Open(peer(1), func() { t.Error("a proxy was hung up") }); err != nil {
			t.Fatal(err)
		}
	}
	hungUp := false
	other, _ := c.Open(peer(2), func() { hungUp = true })
	other.Busy()
	if _, err := c.Open(peer(3), nil); reasonOf(t, err) != Full || hungUp {
		t.Errorf("got %v, hung up %t", err, hungUp)
	}
	other.Idle()
	if _, err := c.Open(peer(1), nil); err != nil || !hungUp {
		t.Errorf("the proxy got %v, hung up %t", err, hungUp)
	}
}

// TestConnectionsBalance: never more than there may be, only connections of larger holders are hung up, and everything
// is given back.
func TestConnectionsBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 8).Draw(t, "most")
		c, err := New(Config{MaxConnections: most, Random: seed()})
		if err != nil {
			t.Fatal(err)
		}
		set := c.Connections
		var all []*Connection
		for range rapid.IntRange(0, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				who := rapid.IntRange(0, 4).Draw(t, "peer")
				before := maps.Clone(set.held)
				if n, err := set.Open(peer(who), func() {}); err == nil {
					all = append(all, n)
				}
				for client, had := range before {
					if set.held[client] < had && had < before[ClientOf(peer(who))] {
						t.Fatalf("%s with %d lost one to %d with %d", client, had, who, before[ClientOf(peer(who))])
					}
				}
			case 2, 3, 4:
				if len(all) == 0 {
					continue
				}
				n := all[rapid.IntRange(0, len(all)-1).Draw(t, "connection")]
				[]func(){n.Busy, n.Idle, n.Close}[rapid.IntRange(0, 2).Draw(t, "what")]()
			}
			sum := 0
			for _, n := range set.held {
				sum += n
			}
			if set.open > most || sum != set.open || len(set.idle) > set.open {
				t.Fatalf("%d are open of %d, %d by client, %d idle", set.open, most, sum, len(set.idle))
			}
		}
		for _, n := range all {
			n.Close()
		}
		if set.open != 0 || len(set.held)+len(set.idle) != 0 {
			t.Fatalf("left: %d open, %d clients, %d idle", set.open, len(set.held), len(set.idle))
		}
	})
}
