package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"golang.org/x/net/proxy"
)

func (p *Proxy) dialSOCKS(ctx context.Context, to string) (net.Conn, error) {
	var auth *proxy.Auth
	if user := p.URL.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", p.Address(), auth, forward(p.reach))
	if err != nil {
		return nil, &Error{Kind: Away, Err: err}
	}
	conn, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", to) // it promises that this is there
	if err == nil {
		return conn, nil
	}
	if away, ok := errors.AsType[*Error](err); ok {
		return nil, away
	}
	failed := &Error{Kind: Failed, Err: err}
	switch text := err.Error(); { // there are no other signs
	case timedOut(ctx, err):
		failed.Kind = Silent
	case strings.Contains(text, "authentication"):
		failed.Kind = Password
	case strings.Contains(text, "not allowed by ruleset"):
		failed.Kind = Forbidden
	case strings.Contains(text, "unexpected protocol version"), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		failed.Kind = NoProxy
	}
	return nil, failed
}

// forward is how the library reaches the proxy.
type forward func(ctx context.Context, network, address string) (net.Conn, error)

// Dial is what the library demands, and never calls where there is a DialContext.
func (f forward) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

// DialContext connects to the proxy.
func (f forward) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}
