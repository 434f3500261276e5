package store

// Why a start gets on with no ClickHouse, in words for whoever wrote the URL. The driver knows one protocol; so the
// addresses are asked in other languages, too.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"countersign/internal/speaks"
)

// Explain says what was expected and what was found at the server's addresses where a call has failed with err, or has
// not ended. sure says that time doesn't mend it. The result wraps err. It takes a few seconds.
func (db *DB) Explain(ctx context.Context, err error) (explained error, sure bool) {
	if _, answered := errors.AsType[*clickhouse.Exception](err); answered || db.dialers[0].socket != "" {
		return err, false // ClickHouse's own words, or the embedded engine, which survives no other language
	}
	if text := explainCertificate(err); text != "" {
		return fmt.Errorf("%w; %s", err, text), true
	}
	var texts []string
	for _, address := range db.addresses {
		text, sureOfIt := db.look(ctx, address)
		if text == "" {
			return err, false // ClickHouse is there
		}
		texts, sure = append(texts, address+": "+text), sureOfIt && (sure || len(texts) == 0)
	}
	return fmt.Errorf("%s: %w", strings.Join(texts, "; "), err), sure
}

const checkAddress = "check that ClickHouse runs there, that this machine reaches the address, " +
	"and that the ClickHouse URL has its native port, 9000, or with secure=true 9440"

// explainCertificate is about the server's certificate, or the client's; empty: err is not.
func explainCertificate(err error) string {
	_, unknownAuthority := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherName := errors.AsType[x509.HostnameError](err)
	remote, isRemote := errors.AsType[*net.OpError](err)
	switch {
	case unknownAuthority:
		return "ClickHouse's certificate leads to no authority that is trusted here: name its authority's file with --clickhouse-ca"
	case otherName:
		return "ClickHouse's certificate is for other names: write into the ClickHouse URL a name that it has"
	case isRemote && remote.Op == "remote error" &&
		slices.Contains([]string{tls.AlertError(42).Error(), tls.AlertError(116).Error()}, remote.Err.Error()):
		// bad_certificate and certificate_required (RFC 8446, section 6.2): what a server says to a client without one.
		return "ClickHouse demands a certificate of its clients: name one with --clickhouse-cert and --clickhouse-key"
	}
	return ""
}

// look says what was expected and found at one address; empty: ClickHouse, or nothing that explains anything.
func (db *DB) look(ctx context.Context, address string) (text string, sure bool) {
	d := db.dialers[0]
	plain := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: d.timeout}).DialContext(ctx, "tcp", address)
	}
	found := speaks.Ask(ctx, plain)
	if d.tls == nil {
		const expected = "expected ClickHouse's native protocol without TLS, and found "
		switch found {
		case speaks.Nothing:
			return checkAddress, false
		case speaks.ClickHouse:
			return "", false
		case speaks.TLS:
			return expected + "a listener that speaks TLS; add secure=true to the ClickHouse URL, or name the native port without TLS, usually 9000", true
		case speaks.Silence, speaks.Closing:
			return expected + found.String() + "; see what runs there, or name another port", false
		default:
			return expected + found.String() + "; name ClickHouse's native port, usually 9000, and not 8123, which is for HTTP", true
		}
	}
	const expected = "expected ClickHouse's native protocol over TLS, and found "
	if found == speaks.TLS {
		found = speaks.Ask(ctx, func(ctx context.Context) (net.Conn, error) {
			conn, err := plain(ctx)
			if err != nil {
				return nil, err
			}
			return d.handshake(ctx, conn, address)
		})
		if found == speaks.HTTP {
			return expected + "a web server (HTTPS); name ClickHouse's native port over TLS, usually 9440, and not 8443, which is for HTTPS", true
		}
		return "", false
	}
	switch found {
	case speaks.Nothing:
		return checkAddress, false
	case speaks.ClickHouse:
		return expected + "that protocol without TLS; leave secure=true out of the ClickHouse URL, or name the native port over TLS, usually 9440", true
	case speaks.Silence, speaks.Closing:
		return expected + found.String() + "; see what runs there, or name another port", false
	default:
		return expected + found.String() + "; name ClickHouse's native port over TLS, usually 9440", true
	}
}
