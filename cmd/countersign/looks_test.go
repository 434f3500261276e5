package main

// A signature is called bad only by a fresh look at its site: real TLS servers that rotate, that differ from node to
// node, that change the kind of their key, and that go away.

import (
	"crypto/elliptic"
	"io"
	"net"
	"sync"
	"testing"

	"countersign/client"
	"countersign/testsite"
)

func TestNothingGoodIsCalledBad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rotating := w.site("rotating.example", p256)
	leaving := w.site("leaving.example", p256)
	nodes := w.twoNodes("nodes.example")
	n := start(t, append(append(w.args(), logArgs(t)...), "--data-dir", t.TempDir())...)
	defer n.stop()

	t.Run("rotation", func(t *testing.T) {
		for round, config := range []testsite.SiteConfig{p256, {Curve: elliptic.P384()}, {RSABits: 2048}} {
			seed := string(rune('a' + round))
			hostile := spoiled(good("hostile "+seed, 1, rotating.SignTextECDSA))
			n.expect(n.upload(rotating.Name, hostile), hostile)
			old := good("old "+seed, 300, rotating.SignTextECDSA)
			must(t, rotating.Rotate(config))
			sign := rotating.SignTextECDSA
			if config.RSABits > 0 {
				sign = rotating.SignTextRSA
			}
			renewed := good("renewed "+seed, 500, sign)
			n.expect(n.upload(rotating.Name, renewed), renewed)
			n.expect(n.upload(rotating.Name, old), old)
		}
	})
	t.Run("nodes", func(t *testing.T) {
		for round := range 4 {
			for i, node := range nodes {
				seed := string(rune('a'+round)) + string(rune('0'+i))
				entries := good("node "+seed, 200, node.SignTextECDSA)
				n.expect(n.upload(node.Name, entries), entries)
			}
		}
	})
	t.Run("away", func(t *testing.T) {
		known := good("known", 10, leaving.SignTextECDSA)
		n.expect(n.upload(leaving.Name, known), known)
		leaving.Close()
		bad := spoiled(good("away bad", 2, leaving.SignTextECDSA))
		for i := range bad {
			bad[i].want, bad[i].reason = failed, leaving.Name
		}
		entries := append(good("away", 1500, leaving.SignTextECDSA), bad...)
		n.expect(n.upload(leaving.Name, entries), entries)
	})
}

// spoiled is entries whose signatures are no good.
func spoiled(entries []entry) []entry {
	out := as(badSignature, entries)
	for i := range out {
		out[i].signature = client.EncodeSignature([]byte("no signature at all, but as long as one may be on the curve"))
	}
	return out
}

// twoNodes adds a site that is behind one address and has two servers with a certificate each, which take turns.
func (w *world) twoNodes(name string) (nodes []*testsite.Site) {
	w.t.Helper()
	var addresses []string
	for range 2 {
		node, err := w.ca.NewSite(name, p256)
		must(w.t, err)
		address, err := node.Serve()
		must(w.t, err)
		w.t.Cleanup(node.Close)
		nodes, addresses = append(nodes, node), append(addresses, address)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	var working sync.WaitGroup
	working.Go(func() {
		for i := 0; ; i++ {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			working.Go(func() { pipe(from, addresses[i%2]) })
		}
	})
	w.t.Cleanup(func() {
		_ = listener.Close()
		working.Wait()
	})
	w.hosts = append(w.hosts, name+"="+listener.Addr().String())
	return nodes
}

// pipe connects a connection with an address until either end closes.
func pipe(from net.Conn, address string) {
	defer from.Close()
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	var working sync.WaitGroup
	working.Go(func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	})
	_, _ = io.Copy(from, to)
	_ = from.Close()
	working.Wait()
}
