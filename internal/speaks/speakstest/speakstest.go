// Package speakstest has listeners that speak what they shouldn't, for tests of messages about wrong ports.
//
// It must not know any other package of this module.
package speakstest

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
)

// Listen answers every connection with the same words, over TLS if there is a configuration. It ends with the test.
func Listen(t *testing.T, secure *tls.Config, words string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		listener = tls.NewListener(listener, secure)
	}
	var working sync.WaitGroup
	working.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			working.Go(func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, words)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		working.Wait()
	})
	return listener.Addr().String()
}
