package certs

// Errors of the network, of TLS and of X.509 as sentences for the uploader. The
// sentences are all ours: a server's or a certificate's own words could say
// anything, and an address would tell strangers about the operator's network.

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"countersign/pipeline/signature"
)

// isTemporary reports whether the same question may have another answer in a
// moment: the site refused the connection, dropped it, or its name couldn't be
// looked up. A time-out isn't temporary: it has used up the time for all tries.
func isTemporary(err error) bool {
	e, ok := errors.AsType[*probeError](err)
	if !ok || isTimeout(err) {
		return false
	}
	switch e.stage {
	case stageDial:
		dns, ok := errors.AsType[*net.DNSError](err)
		notFound := ok && dns.IsNotFound
		return !notFound && !errors.Is(err, errNotPublic) && !errors.Is(err, ErrNoTurn)
	case stageHandshake:
		return isHangUp(err)
	}
	return false
}

// isHangUp reports whether the connection ended under the handshake.
func isHangUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// reason says what went wrong where, and the remedy.
func (e *probeError) reason(w where, timeout time.Duration) string {
	if errors.Is(e.err, ErrNoTurn) {
		return "too many sites at its address are being asked for their certificates at present; send the signatures again"
	}
	if _, dns := errors.AsType[*net.DNSError](e.err); isTimeout(e.err) && !dns {
		return fmt.Sprintf("no answer on %s within %s; the site must serve its certificate there over TLS",
			w, seconds(timeout))
	}
	switch e.stage {
	case stageDial:
		return dialReason(e.err, w)
	case stageHandshake:
		return handshakeReason(e.err, w)
	case stageCertificate:
		return certificateReason(e.err)
	}
	return keyReason(e.err)
}

// where says in a sentence what was asked.
type where string

const (
	atTheSite       where = "port 443"
	atOperatorsHost where = "the address that the operator gave for it"
)

// dialReason says the same of a name that doesn't exist and of one that leads to an address that isn't public: the
// difference would tell strangers which names the operator's own network has.
func dialReason(err error, w where) string {
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && w == atOperatorsHost:
		return "the host that the operator of this service gave for it can't be looked up at present; " +
			"send it again later, or tell the operator"
	case errors.Is(err, errNotPublic), isDNS && dns.IsNotFound:
		return "the name has no public address in DNS; check its spelling and its A and AAAA records, " +
			"or have the operator of this service name its host"
	case isDNS:
		return "the name can't be looked up in DNS at present; check the name servers of its domain, or send it again later"
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connections to %s are refused; the site must serve its certificate there over TLS", w)
	}
	return fmt.Sprintf("%s can't be reached from here; check that the site is up and open to the Internet", w)
}

const (
	handshakeRemedy = "the site must serve this name over TLS 1.2 or 1.3 with an RSA certificate " +
		"of 2048 to 8192 bits, or an ECDSA one"
	keyRemedy = "use RSA with 2048 to 8192 bits, or ECDSA on P-256, P-384 or P-521"
)

func handshakeReason(err error, w where) string {
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	remote, isRemote := errors.AsType[*net.OpError](err)
	switch {
	case isHangUp(err):
		return fmt.Sprintf("the connection to %s was closed during the TLS handshake; "+
			"check the site's TLS set-up for this name", w)
	case notTLS:
		return fmt.Sprintf("what answers on %s doesn't speak TLS; the site must serve its certificate there over TLS", w)
	case isRemote && remote.Op == "remote error":
		return "the site's TLS server refused the handshake; " + handshakeRemedy
	}
	return "the TLS handshake failed; " + handshakeRemedy
}

func certificateReason(err error) string {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case unknown:
		return "its certificate doesn't lead to an authority that this service trusts; " +
			"serve one from a public authority, together with its intermediates"
	case otherName:
		return "its certificate is for other names; serve one that has this name among its subject alternative names"
	case isInvalid && invalid.Reason == x509.Expired:
		return "its certificate, or one above it, has expired or is not valid yet; renew it"
	}
	return "its certificate doesn't pass validation (RFC 5280); serve one that browsers accept"
}

func keyReason(err error) string {
	if errors.Is(err, errLongChain) {
		return fmt.Sprintf("its certificate is longer than %d KiB together with those above it; serve a shorter one",
			maxChain>>10)
	}
	if errors.Is(err, signature.ErrUnsupportedKey) {
		return "its certificate has a key of a kind or size that isn't accepted; " + keyRemedy
	}
	return "its certificate can't be used; serve one that browsers accept"
}
