package certs

import (
	"context"
	"crypto/elliptic"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"countersign/testsite"
)

func TestOnlyPublicAddressesAreDialled(t *testing.T) {
	for address, want := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "93.184.216.34": true, "223.255.255.255": true,
		"9.255.255.255": true, "11.0.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"126.255.255.255": true, "128.0.0.0": true, "169.253.255.255": true, "169.255.0.0": true,
		"172.15.255.255": true, "172.32.0.0": true, "192.0.1.0": true, "192.167.255.255": true,
		"192.169.0.0": true, "198.17.255.255": true, "198.20.0.0": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.0": false, "10.255.255.255": false,
		"100.64.0.0": false, "100.127.255.255": false, "127.0.0.1": false, "127.255.255.255": false,
		"169.254.0.0": false, "169.254.169.254": false, "169.254.255.255": false,
		"172.16.0.0": false, "172.31.255.255": false, "192.0.0.0": false, "192.0.0.170": false, "192.0.0.255": false,
		"192.0.2.1": false, "192.31.196.1": false, "192.52.193.1": false, "192.88.99.1": false,
		"192.168.0.0": false, "192.168.255.255": false, "192.175.48.1": false,
		"198.18.0.0": false, "198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false,
		"168.63.129.16": false, "168.63.129.15": true, "168.63.129.17": true, "64:ff9b::168.63.129.16": false,
		"224.0.0.0": false, "239.255.255.255": false, "240.0.0.0": false, "255.255.255.255": false,

		"2606:4700:4700::1111": true, "2a00:1450:4001:81b::200e": true, "2001:200::": true, "2001:db7:ffff::1": true,
		"2003::1": true, "2620:4f:7fff::1": true, "3ffe::1": true,

		"::": false, "::1": false, "::7f00:1": false, "::2": false, // IPv4-compatible too
		"fc00::": false, "fdff:ffff::1": false, "fe80::1": false, "fe80::1%eth0": false, "febf::1": false, "fec0::1": false,
		"ff00::": false, "ff02::1": false, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": false,
		"100::1": false, "100:0:0:1::1": false, "5f00::1": false, "4000::1": false, "1fff:ffff::1": false,
		"2001::1": false, "2001:0:7f00:1::": false, "2001:2::1": false, "2001:10::1": false, "2001:20::1": false,
		"2001:30::1": false, "2001:1ff:ffff::1": false, "2001:db8::1": false, "2001:db8:ffff::1": false,
		"2002:7f00:1::1": false, "2002:a00:1::1": false, "2002:808:808::1": false, "2620:4f:8000::1": false, "3fff::1": false, "3fff:fff::1": false,
		"2606:4700:4700::1111%eth0": false,

		"::ffff:8.8.8.8": true, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:0:0": false,
		"64:ff9b::8.8.8.8": true, "64:ff9b::127.0.0.1": false, "64:ff9b::10.0.0.1": false, "64:ff9b::169.254.169.254": false,
		"64:ff9b::192.168.1.1": false, "64:ff9b:1::8.8.8.8": false, "64:ff9b:0:0:0:1:808:808": false,
	} {
		if got := isPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: public %t, want %t", address, got, want)
		}
		err := publicBut(nil).control(t.Context(), "tcp", netip.AddrPortFrom(netip.MustParseAddr(address), 443).String(), nil)
		if (err == nil) != want || err != nil && !errors.Is(err, errNotPublic) {
			t.Errorf("%s: dialling gives %v, want it allowed: %t", address, err, want)
		}
	}
	for _, address := range []string{"", "127.0.0.1", "localhost:443", "@socket", "[fe80::1", "2130706433:443"} {
		if err := publicBut(nil).control(t.Context(), "tcp", address, nil); !errors.Is(err, errNotPublic) {
			t.Errorf("%q: dialling gives %v, want a refusal", address, err)
		}
	}
}

func FuzzIsPublic(f *testing.F) {
	for _, seed := range []string{"1.1.1.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2606::1"} {
		f.Add(netip.MustParseAddr(seed).AsSlice())
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		address, ok := netip.AddrFromSlice(bytes)
		if !ok || !isPublic(address) {
			return
		}
		a := address.Unmap()
		if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
			t.Errorf("%s passes as public", address)
		}
		if is4 := netip.AddrFrom16(address.As16()).Unmap(); is4.Is4() != a.Is4() || isPublic(is4) != true {
			t.Errorf("%s passes as public, its other form %s doesn't", address, is4)
		}
	})
}

func TestNetworkDoesNotReachPrivateAddressesByName(t *testing.T) {
	ca := newCA(t)
	site, address := serve(t, ca, siteName, testsite.SiteConfig{Curve: elliptic.P256()})
	names := &nameServer{answer: func(int64) netip.Addr { return netip.MustParseAddr("127.0.0.1") }}
	config := NetworkConfig{Roots: ca.Roots(), Timeout: patience, Resolver: names.resolver(t), Backoff: time.Millisecond}
	_, err := lookAt(t.Context(), config, siteName)
	if u := unavailable(t, err, siteName, "no public address in DNS"); isTemporary(u.Err) || !errors.Is(u, errNotPublic) {
		t.Errorf("%v; want a final refusal for the address", u)
	}
	if names.lookups.Load() == 0 || site.Handshakes() != 0 {
		t.Errorf("%d look-ups and %d handshakes, want some and none", names.lookups.Load(), site.Handshakes())
	}

	config.Hosts = map[string]string{siteName: address}
	if _, err := lookAt(t.Context(), config, siteName); err != nil {
		t.Errorf("with the operator's word for the address: %v", err)
	}
}

// A name server that answers with a public address first and a private one
// afterwards fools a program that looks the name up once to check it and once more to
// dial. Here the name is looked up once, and the address that was checked is dialled.
func TestNetworkJudgesTheAddressItConnectsTo(t *testing.T) {
	names := &nameServer{answer: func(before int64) netip.Addr {
		if before == 0 {
			return netip.MustParseAddr(publicAddress)
		}
		return netip.MustParseAddr("127.0.0.1")
	}}
	var mu sync.Mutex
	var dialled []string
	config := NetworkConfig{Timeout: patience, Resolver: names.resolver(t), Backoff: time.Millisecond}
	config.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		dialled = append(dialled, address)
		return nil, syscall.ECONNREFUSED // so that the address is asked again
	}
	_, err := lookAt(t.Context(), config, siteName)
	unavailable(t, err, siteName, "are refused")
	for _, address := range dialled {
		if address != publicAddress+":443" {
			t.Errorf("%s was dialled", address)
		}
	}
	if len(dialled) != 6 {
		t.Errorf("%d connections, want two in each of three tries", len(dialled))
	}
}

func TestDeniedAddressesAreNotDialled(t *testing.T) {
	denied, err := ParsePrefixes([]string{"9.9.9.0/24", "2a01:4f8::/32", "1.1.1.1", "2a02::5", "64:ff9b::/96"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{
		"9.9.9.9": false, "9.9.8.255": true, "1.1.1.1": false, "1.1.1.2": true, "::ffff:9.9.9.9": false, "2a01:4f8:1::1": false,
		"2a01:4f9::1": true, "2a02::5": false, "2a02::6": true, "64:ff9b::8.8.8.8": false, "10.0.0.1": false,
	} {
		if got := publicBut(denied)(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: may be dialled: %t, want %t", address, got, want)
		}
	}
	wrapped, other := netip.MustParseAddr("64:ff9b::9.9.9.9"), netip.MustParseAddr("64:ff9b::8.8.8.8")
	if allowed := publicBut(denied[:1]); allowed(wrapped) || !allowed(other) {
		t.Error("an IPv4 network is denied also where NAT64 wraps it, and nothing else is")
	}
	_, err = ParsePrefixes([]string{"1.2.3.4", "10.0.0.0/33", "::ffff:1.2.3.0/120", "example.com", "fe80::1%eth0"})
	for _, bad := range []string{"10.0.0.0/33", "::ffff:1.2.3.0/120", "example.com", "fe80::1%eth0"} {
		if err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%v, want an error that names %s", err, bad)
		}
	}
}

func TestNetworkTellsWhatDNSSaid(t *testing.T) {
	for _, c := range []struct {
		name, why  string
		code       dnsmessage.RCode
		askedAgain bool
	}{
		{"no such name", "no public address in DNS", dnsmessage.RCodeNameError, false},
		{"broken server", "can't be looked up", dnsmessage.RCodeServerFailure, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := &nameServer{code: c.code, answer: func(int64) netip.Addr { return netip.Addr{} }}
			config := NetworkConfig{Resolver: names.resolver(t), Timeout: patience, Tries: 2, Backoff: time.Millisecond}
			_, err := lookAt(t.Context(), config, siteName)
			if u := unavailable(t, err, siteName, c.why); isTemporary(u.Err) != c.askedAgain {
				t.Errorf("asked again: %t, want %t: %v", !c.askedAgain, c.askedAgain, u)
			}
		})
	}
}

// nameServer answers every question for IPv4 addresses with what answer gives
// for the number of questions before, or with an error code.
type nameServer struct {
	code    dnsmessage.RCode
	answer  func(before int64) netip.Addr
	lookups atomic.Int64
}

// resolver is a resolver that asks only this server, through memory. What
// serves it ends with the test.
func (s *nameServer) resolver(t *testing.T) *net.Resolver {
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	return &net.Resolver{
		PreferGo: true,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			running.Go(func() {
				defer server.Close()
				for s.serve(server) == nil {
				}
			})
			return client, nil
		},
	}
}

// serve answers one question in the form that DNS has on streams (RFC 1035,
// section 4.2.2).
func (s *nameServer) serve(conn net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return err
	}
	message.Response, message.RCode = true, s.code
	message.Additionals = nil
	if q := message.Questions[0]; q.Type == dnsmessage.TypeA && s.code == dnsmessage.RCodeSuccess {
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
			Body:   &dnsmessage.AResource{A: s.answer(s.lookups.Add(1) - 1).As4()},
		}}
	}
	reply, err := message.AppendPack(make([]byte, 2))
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint16(reply, uint16(len(reply)-2))
	_, err = conn.Write(reply)
	return err
}
