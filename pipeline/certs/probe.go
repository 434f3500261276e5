package certs

// A probe is one TLS handshake, made for the certificate alone: nothing is sent
// over the connection and nothing is read from it afterwards. The certificate
// counts once it was shown and verified, however the handshake ends.
//
// Which certificate a site with two of them serves follows from the client's
// hello. In TLS 1.2 the cipher suites name the kind of certificate, so a hello
// with suites of one kind gets that kind or a refusal. In TLS 1.3 only the
// signature_algorithms extension tells (RFC 8446, section 4.2.3), which
// crypto/tls doesn't let its user choose. The two probes therefore speak TLS
// 1.2, which nearly every site does, and a site that refuses both is asked
// with TLS 1.3, for whichever certificate it prefers. A site with two
// certificates that speaks TLS 1.3 alone thus shows one of them; --cert-dir can
// hold the other.
//
// What a server may send is bounded by crypto/tls (messages of 64 KiB, 256 KiB
// for the certificates, RSA keys of 8192 bits) and by the deadline, which ends
// a server that drips bytes as well as one that sends none.

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"countersign/pipeline/signature"
)

// offer is what a probe's hello offers. The first ones are those of the kinds.
type offer int

const (
	offerRSA   = offer(kindRSA)
	offerECDSA = offer(kindECDSA)
	offerTLS13 = offer(kinds)
)

// suites are the TLS 1.2 cipher suites of an offer. Old ones are among them,
// with RSA key exchange too: no secret goes over this connection, and what
// matters is that the server can prove to have the key.
func (o offer) suites() []uint16 {
	switch o {
	case offerRSA:
		return []uint16{
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
			tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		}
	case offerECDSA:
		return []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		}
	default:
		return nil // crypto/tls chooses those of TLS 1.3 itself
	}
}

// leafChain is what a probe found.
type leafChain struct {
	found
	kind kind
}

// probe makes one handshake and returns the validated chain with a copy of its
// bytes. The error is a *probeError.
func (n *network) probe(ctx context.Context, t target, o offer) (leaf leafChain, err error) {
	stage := stageDial
	defer func() {
		// I7: the parsers of a handshake read bytes that any server may choose.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, errGaveWay) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		if err != nil {
			err = &probeError{stage: stage, err: err}
		}
	}()
	raw, err := t.dial(ctx, "tcp", t.dialled())
	if err != nil {
		return leafChain{}, err
	}
	defer raw.Close()

	work := n.processors.computingOn(raw, t.accounts)
	defer work.end()
	chain, err := n.handshake(ctx, work, t.site, o)
	if err != nil {
		stage = stageOf(err)
		return leafChain{}, err
	}

	stage = stageKey
	leaf.kind, err = leafKind(chain[0])
	if err != nil {
		return leafChain{}, err
	}
	leaf.until = chain[0].NotAfter
	for _, certificate := range chain {
		leaf.chain.Certificates = append(leaf.chain.Certificates, bytes.Clone(certificate.Raw))
		if certificate.NotAfter.Before(leaf.until) {
			leaf.until = certificate.NotAfter
		}
	}
	if leaf.chain.size() > maxChain {
		return leafChain{}, errLongChain
	}
	return leaf, nil
}

// handshake returns the chain that the server showed, verified. What happens after the certificates is no matter, so
// long as the server doesn't try to prove that it has the key and fails: it may demand a certificate of us and end the
// handshake with an alert, or close, reset or forget the connection. Whoever shows a chain without its key gains nothing,
// for signatures under that key are what counts here.
func (n *network) handshake(ctx context.Context, raw net.Conn, site string, o offer) (chain []*x509.Certificate, err error) {
	config := n.tlsConfig(site, o)
	var rest *time.Timer // ends a server that goes silent after its certificates
	config.VerifyConnection = func(state tls.ConnectionState) error {
		chain = state.VerifiedChains[0]
		rest = time.AfterFunc(settleTime, func() { raw.Close() })
		return nil
	}
	heard := &wire{Conn: raw}
	conn := tls.Client(heard, config)
	err = conn.HandshakeContext(ctx)
	if rest != nil {
		rest.Stop()
	}
	_, refused := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case err == nil:
		conn.Close() // says goodbye, so that the site's log shows no error
		return chain, nil
	case refused:
		return nil, err
	case chain != nil && endedByPeer(ctx, err):
		return chain, nil
	case chain != nil:
		return nil, fmt.Errorf("%w: %w", errNoProof, err)
	}
	certificates := parseSpeech(heard.heard).certificates
	unread := slices.ContainsFunc(certificates, func(der []byte) bool { // crypto/tls refuses it, too
		certificate, err := parseServed(der)
		return err != nil || certificate.PublicKey == nil
	})
	if unread || certificates != nil && endedByPeer(ctx, err) {
		return n.verify(site, certificates)
	}
	if odd := parseFailure(err); odd != nil { // of TLS 1.3
		return nil, odd
	}
	if strings.Contains(err.Error(), "unsupported type of public key") {
		return nil, fmt.Errorf("%w: %w", signature.ErrUnsupportedKey, err)
	}
	return nil, err
}

// errNoProof is the refusal of a valid chain whose server sent something wrong after it.
var errNoProof = errors.New("the server doesn't prove that it has the certificate's key")

// endedByPeer says that a handshake ended because the server ended it or stopped to take part, and not because it sent
// something wrong.
func endedByPeer(ctx context.Context, err error) bool {
	_, alerted := alertOf(err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	return ctx.Err() != nil || alerted || noTLS || isHangUp(err) || isTimeout(err) || errors.Is(err, net.ErrClosed)
}

// errLongChain is the refusal of a chain that doesn't fit a record.
var errLongChain = fmt.Errorf("the chain is longer than %d bytes", maxChain)

func (n *network) tlsConfig(site string, o offer) *tls.Config {
	config := &tls.Config{
		ServerName:   site,
		RootCAs:      n.Roots,
		Time:         n.Clock,
		MinVersion:   tls.VersionTLS12,
		MaxVersion:   tls.VersionTLS12,
		CipherSuites: o.suites(),
	}
	if o == offerTLS13 {
		config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	}
	return config
}

// stage is how far a probe came. A failure at a later stage says more about the site.
type stage int

const (
	stageDial        stage = iota
	stageHandshake         // connected
	stageInquiry           // it was asked why, and told more than an alert
	stageCertificate       // it sent a certificate, which doesn't hold
	stageKey               // the certificate holds, its key is of no use
)

// stageOf is the stage of a handshake's error.
func stageOf(err error) stage {
	_, refused := errors.AsType[*tls.CertificateVerificationError](err)
	_, odd := errors.AsType[*oddCertificate](err)
	switch {
	case errors.Is(err, signature.ErrUnsupportedKey):
		return stageKey
	case refused || odd || errors.Is(err, errNoProof):
		return stageCertificate
	}
	return stageHandshake
}

// probeError is why a probe failed.
type probeError struct {
	stage stage
	err   error
}

func (e *probeError) Error() string { return e.err.Error() }
func (e *probeError) Unwrap() error { return e.err }

// furthest is the error of the probe that came furthest, which says most about the site. Of several that came equally
// far it is the first. Errors that are nil are skipped.
func furthest(errs ...error) error {
	var best *probeError
	for _, err := range errs {
		if e, ok := errors.AsType[*probeError](err); ok && (best == nil || e.stage > best.stage) {
			best = e
		}
	}
	return best
}

// bothRefused reports whether the site answers but takes neither offer, so that it should be asked with TLS 1.3.
func bothRefused(errs [kinds]error) bool {
	for _, err := range errs {
		if e, ok := errors.AsType[*probeError](err); !ok || e.stage != stageHandshake || isTimeout(e) {
			return false
		}
	}
	return true
}

// isTimeout reports whether time ran out, as seen by the context or by a socket.
func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout()
}

// seconds is d for a sentence.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%g s", d.Round(time.Millisecond).Seconds())
}
