package log

// Why a start gets no answer from Kafka, in words for whoever set the addresses. The errors of the protocol don't tell:
// a web server, ZooKeeper, or a listener that wants TLS closes the connection, or says nothing. So the addresses are
// asked in other languages, too.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go"

	"countersign/internal/speaks"
)

// explainBrokers is how many addresses are looked at.
const explainBrokers = 3

// explain is a startup.Wait's Explain.
func (c *Client) explain(ctx context.Context, err error) (explained error, sure bool) {
	const check = "check that Kafka runs there, that the address is reachable from this machine, " +
		"and that TLS and SASL are set as its listener expects"
	if _, ok := errors.AsType[*advertisedError](err); ok {
		return err, false
	}
	if text := c.explainAnswer(err); text != "" {
		return fmt.Errorf("%s: %w", text, err), true
	}
	brokers := c.cfg.Brokers[:min(len(c.cfg.Brokers), explainBrokers)]
	findings := make([]finding, len(brokers))
	var asking sync.WaitGroup
	for i, address := range brokers {
		asking.Go(func() { findings[i] = c.look(ctx, address) })
	}
	asking.Wait()
	var texts []string
	for i, f := range findings {
		if f.text != "" {
			texts = append(texts, brokers[i]+": "+f.text)
		}
	}
	if len(texts) == 0 {
		return fmt.Errorf("%s: %w", check, err), false
	}
	unsure := func(f finding) bool { return !f.sure }
	return fmt.Errorf("%s: %w", strings.Join(texts, "; "), err), !slices.ContainsFunc(findings, unsure)
}

// explainAnswer says what a broker's refusal asks for; empty: err is none.
func (c *Client) explainAnswer(err error) string {
	refusal, _ := errors.AsType[kafka.Error](err)
	_, unknownAuthority := errors.AsType[x509.UnknownAuthorityError](err)
	_, otherName := errors.AsType[x509.HostnameError](err)
	switch {
	case refusal == kafka.SASLAuthenticationFailed:
		return fmt.Sprintf("the broker refuses the user %q with the mechanism %s; "+
			"correct --kafka-user, COUNTERSIGN_KAFKA_PASSWORD or --kafka-sasl", c.cfg.SASL.User, c.cfg.SASL.Mechanism)
	case refusal == kafka.UnsupportedSASLMechanism:
		return fmt.Sprintf("the listener doesn't take the mechanism %s; set --kafka-sasl to one that it takes "+
			"(its sasl.enabled.mechanisms)", c.cfg.SASL.Mechanism)
	case refusal == kafka.IllegalSASLState:
		return "expected a listener with a login (SASL), and found one without; leave out --kafka-sasl and --kafka-user, " +
			"or name the port of the listener with SASL"
	case unknownAuthority:
		return "the broker's certificate leads to no authority that is trusted here; name its authority's file with --kafka-ca"
	case otherName:
		return "the broker's certificate is for other names; write into --kafka a name that it has"
	case wantsClientCertificate(err):
		return "the listener demands a certificate of its clients; name one with --kafka-cert and --kafka-key"
	}
	return ""
}

// wantsClientCertificate recognises the alerts with which servers end a handshake without one: bad_certificate and
// certificate_required (RFC 8446, section 6.2).
func wantsClientCertificate(err error) bool {
	remote, ok := errors.AsType[*net.OpError](err)
	return ok && remote.Op == "remote error" &&
		slices.Contains([]string{tls.AlertError(42).Error(), tls.AlertError(116).Error()}, remote.Err.Error())
}

// finding is what was found at an address where Kafka was expected; empty: nothing that explains anything.
type finding struct {
	text string
	sure bool // time doesn't change it
}

func (c *Client) look(ctx context.Context, address string) finding {
	found := speaks.Ask(ctx, func(ctx context.Context) (net.Conn, error) { return c.dial(ctx, "tcp", address) })
	expected := "expected Kafka without TLS, and found "
	if c.cfg.TLS != nil {
		expected = "expected Kafka over TLS, and found "
		if found == speaks.TLS {
			if found = speaks.Ask(ctx, func(ctx context.Context) (net.Conn, error) { return c.dialTLS(ctx, address) }); found == speaks.HTTP {
				return finding{expected + "a web server (HTTPS)" + nameBroker, true}
			}
			return c.looked(found)
		}
	}
	switch found {
	case speaks.Nothing:
		return finding{}
	case speaks.TLS:
		return finding{expected + "a listener that speaks TLS; set --kafka-tls, or name the port of the listener without TLS", true}
	case speaks.Kafka:
		if c.cfg.TLS != nil {
			return finding{expected + "Kafka without TLS; leave out --kafka-tls, or name the port of the listener with TLS", true}
		}
		return c.looked(found)
	case speaks.HTTP, speaks.ClickHouse, speaks.Unknown:
		return finding{expected + found.String() + nameBroker, true}
	case speaks.ZooKeeper:
		return finding{expected + "ZooKeeper" + nameBroker + ", and not ZooKeeper's, usually 2181", true}
	default:
		return finding{expected + found.String() + "; see what runs there, or name another port", false}
	}
}

const nameBroker = "; name the port of a broker, usually 9092"

// looked is the finding where Kafka, or something within TLS, answers its first question and not the second one.
func (c *Client) looked(found speaks.Language) finding {
	if found == speaks.Kafka && c.cfg.SASL.Mechanism == "" {
		return finding{"expected Kafka without a login, and found a listener that ends the connection at the first question, " +
			"as one with SASL does; set --kafka-sasl, --kafka-user and COUNTERSIGN_KAFKA_PASSWORD (a KRaft controller's port does " +
			"the same: name a broker's)", false} // it may also be a broker that stops or starts
	}
	return finding{}
}

// dialTLS is a connection on which the handshake is done.
func (c *Client) dialTLS(ctx context.Context, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config := c.cfg.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// advertisedError says that the brokers can't be reached where they say that they are.
type advertisedError struct {
	by         string // who said so
	advertised []string
	err        error // of one of them
}

func (e *advertisedError) Error() string {
	return fmt.Sprintf("the broker at %s answers, and says that the cluster is reached at %s (advertised.listeners), "+
		"which can't be reached from here; correct advertised.listeners of that listener, or make the address reachable: %v",
		e.by, strings.Join(e.advertised, ", "), e.err)
}

func (e *advertisedError) Unwrap() error { return e.err }

// checkAdvertised returns an error if none of the brokers answers at the address that it advertises. Records go to
// those addresses, whatever the configured ones are. The embedded broker is reached otherwise.
func (c *Client) checkAdvertised(ctx context.Context, by string, brokers []kafka.Broker) error {
	var addresses []string
	for _, b := range brokers {
		if b.Host != "" {
			addresses = append(addresses, addressOf(b))
		}
	}
	if c.inProcess || len(addresses) == 0 || slices.Contains(addresses, by) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, len(addresses))
	for _, address := range addresses {
		go func() { answers <- c.probeOne(ctx, address) }()
	}
	var first error
	for range addresses {
		err := <-answers
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return &advertisedError{by: by, advertised: addresses, err: first}
}
