package certs

// Who computes when many sites answer at once.

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A thousand handshakes of one client wait for the one processor. Somebody else's step is the next one, and no two
// compute at a time.
func TestHandshakesComputeInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcessors(1)
		computing := 0
		step := func(client, site string, most time.Duration) {
			began := time.Now()
			leave := p.enter([]account{{accountDomain, site}, {accountClient, client}})
			if waited := time.Since(began); waited > most {
				t.Errorf("a step of %s for %s waited %s, want at most %s", client, site, waited, most)
			}
			if computing++; computing > 1 {
				t.Errorf("%d compute at a time", computing)
			}
			time.Sleep(time.Millisecond)
			computing--
			leave()
		}
		for i := range 1000 {
			go step("flooder", fmt.Sprintf("s%d.example", i), 2*time.Second)
		}
		synctest.Wait()
		if got := p.waiting(); got != 999 {
			t.Errorf("%d wait, want 999", got)
		}
		for range 10 {
			step("newcomer", "newcomer.example", 2*time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if p.waiting() != 0 || p.free != 1 {
			t.Errorf("at the end %d wait and %d processors are free, want 0 and 1", p.waiting(), p.free)
		}
	})
}

// A handshake that waits for its site leaves the processor to others.
func TestAHandshakeThatWaitsHoldsNoProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcessors(1)
		here, there := net.Pipe()
		defer there.Close()
		conn := p.computingOn(here, ofDomain("silent.example"))
		var got [1]byte
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if _, err := conn.Read(got[:]); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		leave := p.enter(ofDomain("other.example")) // or the bubble is stuck
		if _, err := there.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-ended:
			t.Error("two compute at a time")
		default:
		}
		leave()
		<-ended
		conn.end()
		if p.free != 1 {
			t.Errorf("%d processors are free at the end, want 1", p.free)
		}
	})
}
