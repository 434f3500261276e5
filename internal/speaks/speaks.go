package speaks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Language is what was found at an address.
type Language int

const (
	Nothing Language = iota // no connection came about
	Silence                 // connections are accepted, and nothing is said
	Closing                 // connections are accepted and closed without a word
	Unknown                 // something was said that isn't known here
	TLS                     // whatever may be inside
	HTTP
	Kafka
	ZooKeeper
	ClickHouse // its native protocol
)

// String completes a sentence such as "found ...".
func (l Language) String() string {
	switch l {
	case Nothing:
		return "nothing that accepts connections"
	case Silence:
		return "something that accepts connections and says nothing: is it stopped, or overloaded?"
	case Closing:
		return "something that accepts connections and closes them"
	case TLS:
		return "a listener that speaks TLS"
	case HTTP:
		return "a web server (HTTP)"
	case Kafka:
		return "Kafka"
	case ZooKeeper:
		return "ZooKeeper"
	case ClickHouse:
		return "ClickHouse's native protocol"
	default:
		return "something that speaks neither Kafka's, ClickHouse's nor any other protocol that is known here"
	}
}

const (
	askTime  = 2 * time.Second        // of all questions together
	restTime = 100 * time.Millisecond // for what follows the first bytes of an answer
	answer   = 512                    // bytes of an answer that are kept
)

// kafkaQuestion asks for the versions of Kafka's requests (ApiVersions, version 0); kafkaNumber comes back in the answer.
const (
	kafkaNumber   = "cspk"
	kafkaQuestion = "\x00\x00\x00\x0a\x00\x12\x00\x00" + kafkaNumber + "\xff\xff"
)

// opening says something on a connection, and returns what came back.
type opening func(conn net.Conn) (heard []byte, err error)

var openings = []opening{
	hello,
	saying(kafkaQuestion),
	saying("GET / HTTP/1.0\r\n\r\n"), // ClickHouse's native protocol answers this with a hint
	saying("srvr"),                   // ZooKeeper's question for its state
}

// Ask asks with a connection for each language, all at once. dial makes them.
func Ask(ctx context.Context, dial func(context.Context) (net.Conn, error)) Language {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	found := make(chan Language, len(openings))
	for _, open := range openings {
		go func() { found <- ask(ctx, dial, open) }()
	}
	best := Nothing
	for range openings {
		best = max(best, <-found)
		if best > Unknown {
			cancel() // the others needn't wait
		}
	}
	return best
}

func ask(ctx context.Context, dial func(context.Context) (net.Conn, error), open opening) Language {
	conn, err := dial(ctx)
	if err != nil {
		return Nothing
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	heard, err := open(conn)
	switch {
	case len(heard) > 0:
		return classify(heard)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Silence
	}
	return Closing
}

func classify(heard []byte) Language {
	switch {
	case len(heard) >= 8 && string(heard[4:8]) == kafkaNumber:
		return Kafka
	case len(heard) >= 2 && (heard[0] == 0x15 || heard[0] == 0x16) && heard[1] == 3: // alert or handshake of SSL 3 and later
		return TLS
	case bytes.Contains(heard, []byte("clickhouse-client")):
		return ClickHouse
	case bytes.HasPrefix(heard, []byte("HTTP/")):
		return HTTP
	case bytes.HasPrefix(heard, []byte("Zookeeper version")), bytes.Contains(heard, []byte("not in the whitelist")),
		bytes.Contains(heard, []byte("ZooKeeper")):
		return ZooKeeper
	}
	return Unknown
}

func saying(words string) opening {
	return func(conn net.Conn) ([]byte, error) {
		if _, err := io.WriteString(conn, words); err != nil {
			return nil, err
		}
		buffer := make([]byte, answer)
		n, err := conn.Read(buffer)
		if n == 0 {
			return nil, err
		}
		_ = conn.SetReadDeadline(time.Now().Add(restTime))
		rest, _ := io.ReadFull(conn, buffer[n:])
		return buffer[:n+rest], nil
	}
}

// hello begins a TLS handshake, and doesn't care with whom.
func hello(conn net.Conn) ([]byte, error) {
	kept := &keeping{Conn: conn}
	err := tls.Client(kept, &tls.Config{InsecureSkipVerify: true}).Handshake()
	return kept.heard, err
}

// keeping keeps the first bytes that are read.
type keeping struct {
	net.Conn
	heard []byte
}

func (k *keeping) Read(b []byte) (int, error) {
	n, err := k.Conn.Read(b)
	k.heard = append(k.heard, b[:min(n, answer-len(k.heard))]...)
	return n, err
}
