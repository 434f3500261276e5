package certs

// Errors of the network, of TLS and of X.509 as sentences for the uploader. The
// sentences are all ours: a server's or a certificate's own words could say
// anything, and an address would tell strangers about the operator's network.

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"countersign/internal/tunnel"
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
		if failed, ok := errors.AsType[*tunnel.Error](err); ok {
			return failed.Temporary()
		}
		dns, ok := errors.AsType[*net.DNSError](err)
		notFound := ok && dns.IsNotFound
		return !notFound && !errors.Is(err, errNotPublic) && !errors.Is(err, ErrNoTurn)
	case stageHandshake:
		return isHangUp(err)
	default:
		return false
	}
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
	if failed, ok := errors.AsType[*tunnel.Error](e.err); ok {
		return proxyReason(failed, timeout)
	}
	if _, dns := errors.AsType[*net.DNSError](e.err); isTimeout(e.err) && !dns {
		if e.stage == stageDial {
			return fmt.Sprintf("no connection to %s came about within %s, as if a firewall dropped it; "+
				"the site must serve its certificate there over TLS", w, seconds(timeout))
		}
		return fmt.Sprintf("no answer on %s within %s, though the connection is there; "+
			"the site must serve its certificate there over TLS", w, seconds(timeout))
	}
	switch e.stage {
	case stageDial:
		return dialReason(e.err, w)
	case stageHandshake, stageInquiry:
		return handshakeReason(e.err, w)
	case stageCertificate:
		return certificateReason(e.err)
	default:
		return keyReason(e.err)
	}
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

// mayNeedProxy says that a site wasn't reached as it is where only a proxy leads out.
func mayNeedProxy(e *probeError) bool {
	dns, isDNS := errors.AsType[*net.DNSError](e.err)
	answered := errors.Is(e.err, errNotPublic) || isDNS && dns.IsNotFound
	_, proxied := errors.AsType[*tunnel.Error](e.err)
	return e.stage == stageDial && !answered && !proxied && !errors.Is(e.err, ErrNoTurn)
}

const (
	handshakeRemedy = "the site must serve this name over TLS 1.2 or 1.3 with a certificate that has an RSA key " +
		"of 2048 to 8192 bits, or an ECDSA key on P-256, P-384 or P-521, and with a cipher suite that browsers offer"
	keyRemedy   = "use RSA with 2048 to 8192 bits, or ECDSA on P-256, P-384 or P-521"
	chainRemedy = "serve one from a public authority, together with its intermediates"
)

// The alerts of RFC 8446, section 6, and RFC 5246, section 7.2, that have a reason of their own.
const (
	alertNoCertificate       = tls.AlertError(41)
	alertBadCertificate      = tls.AlertError(42)
	alertUnknownCA           = tls.AlertError(48)
	alertAccessDenied        = tls.AlertError(49)
	alertProtocolVersion     = tls.AlertError(70)
	alertInternalError       = tls.AlertError(80)
	alertUnrecognizedName    = tls.AlertError(112)
	alertCertificateRequired = tls.AlertError(116)
)

// alertOf is the alert with which a server ended a handshake. crypto/tls gives it as an error of a type of its own,
// with the same words.
func alertOf(err error) (words string, ok bool) {
	remote, isOp := errors.AsType[*net.OpError](err)
	if !isOp || remote.Op != "remote error" {
		return "", false
	}
	return remote.Err.Error(), true
}

func handshakeReason(err error, w where) string {
	header, notTLS := errors.AsType[tls.RecordHeaderError](err)
	old, isOld := errors.AsType[errOldTLS](err)
	alert, alerted := alertOf(err)
	switch {
	case isOld:
		return fmt.Sprintf("%s speaks %s at most; the site must serve this name over TLS 1.2 or 1.3",
			w, tls.VersionName(old.version))
	case isHangUp(err):
		return fmt.Sprintf("the connection to %s was closed during the TLS handshake; "+
			"check the site's TLS set-up for this name", w)
	case notTLS && string(header.RecordHeader[:]) == "HTTP/":
		return fmt.Sprintf("what answers on %s doesn't speak TLS but plain HTTP; "+
			"the site must serve its certificate there over TLS", w)
	case notTLS:
		return fmt.Sprintf("what answers on %s doesn't speak TLS; the site must serve its certificate there over TLS", w)
	case alerted:
		return refusalReason(alert)
	}
	if strings.Contains(err.Error(), "unsupported protocol version") {
		return fmt.Sprintf("%s speaks a version of TLS before 1.2; the site must serve this name over TLS 1.2 or 1.3", w)
	}
	return "the TLS handshake failed; " + handshakeRemedy
}

func refusalReason(alert string) string {
	switch alert {
	case alertUnrecognizedName.Error():
		return "the site's TLS server refused the handshake, because it doesn't know this name (unrecognized_name); " +
			"set the name up there, with its certificate"
	case alertProtocolVersion.Error():
		return "the site's TLS server refused the handshake, because it speaks neither TLS 1.2 nor 1.3; " + handshakeRemedy
	case alertNoCertificate.Error(), alertBadCertificate.Error(), alertUnknownCA.Error(), alertAccessDenied.Error(),
		alertCertificateRequired.Error():
		return "the site's TLS server refused the handshake before it showed its certificate, " +
			"because it wants to know its clients by theirs; have it show its certificate to everybody"
	case alertInternalError.Error():
		return "the site's TLS server refused the handshake with an error of its own; look into its log"
	}
	return "the site's TLS server refused the handshake, which has no kind of certificate or cipher suite in common with it; " +
		handshakeRemedy
}

func certificateReason(err error) string {
	if odd, ok := errors.AsType[*oddCertificate](err); ok {
		return odd.reason()
	}
	if errors.Is(err, errNoProof) {
		return "its TLS server shows a certificate that holds, and then doesn't prove that it has the key of it; " +
			"check that the server's key and certificate belong together"
	}
	var served []*x509.Certificate
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		served = failed.UnverifiedCertificates
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	otherName, isOtherName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, critical := errors.AsType[x509.UnhandledCriticalExtension](err)
	switch {
	case unknown:
		return authorityReason(served)
	case isOtherName:
		return nameReason(otherName)
	case critical:
		return "its certificate, or one above it, has a critical extension that isn't known here; " +
			"serve one that browsers accept"
	case isInvalid && len(served) > 0:
		return invalidReason(invalid, served[0])
	}
	return "its certificate doesn't pass validation (RFC 5280); serve one that browsers accept"
}

// authorityReason says what is wrong with a chain that leads to no root, as far as the chain shows it.
func authorityReason(served []*x509.Certificate) string {
	const unknown = "doesn't lead to an authority that this service trusts"
	if len(served) == 0 {
		return "its certificate " + unknown + "; " + chainRemedy
	}
	ownIssuer := func(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }
	for _, c := range served {
		if weakSignature(c) && !ownIssuer(c) {
			return fmt.Sprintf("its certificate %s: it, or one above it, is signed with %s; %s",
				unknown, c.SignatureAlgorithm, chainRemedy)
		}
	}
	switch last := served[len(served)-1]; {
	case ownIssuer(served[0]):
		return "its certificate is self-signed, so that it " + unknown + "; " + chainRemedy
	case len(served) == 1:
		return "its certificate " + unknown + ": it came alone, without an intermediate; " +
			"serve the full chain, or one from a public authority"
	case ownIssuer(last):
		return "its certificate " + unknown + ": its chain ends with the root of another one; " + chainRemedy
	}
	return "its certificate " + unknown + ": an intermediate is missing from the chain, or its root isn't known here; " +
		chainRemedy
}

// weakSignature says that Go verifies no signature of this kind.
func weakSignature(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	default:
		return false
	}
}

// nameReason quotes no name of the certificate: it could say anything.
func nameReason(err x509.HostnameError) string {
	const remedy = "; serve one that has this name among its subject alternative names"
	names := err.Certificate.DNSNames
	_, above, _ := strings.Cut(err.Host, ".")
	covers := func(name string) bool { // if a wildcard stood for no label, or for several
		base, wildcard := strings.CutPrefix(name, "*.")
		return wildcard && (strings.EqualFold(base, err.Host) || strings.HasSuffix(above, "."+strings.ToLower(base)))
	}
	switch {
	case len(names) == 0:
		return "its certificate is for other names, because it has no DNS name among its subject alternative names, " +
			"and its common name doesn't count" + remedy
	case slices.ContainsFunc(names, covers):
		return "its certificate is for other names, because its wildcard stands for exactly one label" + remedy
	}
	return "its certificate is for other names" + remedy
}

func invalidReason(err x509.CertificateInvalidError, leaf *x509.Certificate) string {
	which := "its certificate"
	if err.Cert != nil && !err.Cert.Equal(leaf) {
		which = "an authority's certificate in its chain"
	}
	switch err.Reason {
	case x509.Expired:
		if err.Cert == nil {
			return which + " has expired or is not valid yet; renew it"
		}
		if strings.Contains(err.Detail, "is before") {
			return fmt.Sprintf("%s is not valid yet, but from %s on; serve one that is valid now", which, day(err.Cert.NotBefore))
		}
		return fmt.Sprintf("%s has expired on %s; renew it, and have the server load the new one",
			which, day(err.Cert.NotAfter))
	case x509.IncompatibleUsage:
		return which + " isn't meant for servers (extended key usage); serve one that is"
	case x509.NotAuthorizedToSign:
		return "its certificate was issued by one that isn't an authority's; " + chainRemedy
	case x509.CANotAuthorizedForThisName, x509.NameConstraintsWithoutSANs, x509.UnconstrainedName, x509.TooManyConstraints:
		return "an authority above its certificate may not issue for this name (name constraints); " + chainRemedy
	case x509.TooManyIntermediates:
		return "its chain is longer than an authority in it allows; " + chainRemedy
	default:
		return which + " doesn't pass validation (RFC 5280); serve one that browsers accept"
	}
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func keyReason(err error) string {
	if errors.Is(err, errLongChain) {
		return fmt.Sprintf("its certificate is longer than %d KiB together with those above it; serve a shorter one",
			maxChain>>10)
	}
	if errors.Is(err, signature.ErrUnsupportedKey) {
		with := "a key"
		if key, ok := errors.AsType[*unusableKey](err); ok && key.what != "" {
			with = key.what
		}
		return "its certificate has " + with + ", of a kind or size that isn't accepted; " + keyRemedy
	}
	return "its certificate can't be used; serve one that browsers accept"
}
