package certs

// What a server said in the clear. Up to TLS 1.2 the certificates travel unencrypted, so a probe that ended early has
// them all the same: crypto/tls looks at them only after the next message, and at none of them if one can't be parsed.
//
// TLS 1.3 encrypts its certificates. There the chain is known as soon as crypto/tls has verified it.

import (
	"encoding/binary"
	"net"
)

// maxHeard bounds what is kept of a connection, in bytes: the longest chain that is taken, and the other messages.
const maxHeard = maxChain + 16<<10

// wire keeps what is read from a connection. It is for one goroutine that reads.
type wire struct {
	net.Conn
	heard []byte
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.heard = append(w.heard, b[:min(n, max(0, maxHeard-len(w.heard)))]...)
	return n, err
}

// speech is what a server said in the clear before it encrypted or ended.
type speech struct {
	version      uint16   // that it chose; 0: it chose none. TLS 1.3 says 1.2 here.
	certificates [][]byte // in DER, the leaf first; nil: no complete message with certificates came
}

// The numbers of RFC 5246, sections 6.2.1 and 7.4.
const (
	recordHandshake    = 22
	messageServerHello = 2
	messageCertificate = 11
)

// parseSpeech reads as much as there is. The bytes may be anything. The result refers to them.
func parseSpeech(heard []byte) (s speech) {
	for messages := handshakeMessages(heard); len(messages) >= 4; {
		kind := messages[0]
		body, rest, ok := cutVector(messages[1:])
		if !ok {
			break
		}
		messages = rest
		switch {
		case kind == messageServerHello && len(body) >= 2:
			s.version = binary.BigEndian.Uint16(body)
		case kind == messageCertificate:
			list, _, _ := cutVector(body)
			for len(list) > 0 {
				certificate, rest, ok := cutVector(list)
				if !ok {
					return s
				}
				s.certificates, list = append(s.certificates, certificate), rest
			}
			return s
		}
	}
	return s
}

// handshakeMessages joins what the records before the first one of another type hold.
func handshakeMessages(heard []byte) (messages []byte) {
	const header = 5 // type, version and length
	for len(heard) >= header && heard[0] == recordHandshake {
		length := int(binary.BigEndian.Uint16(heard[3:]))
		heard = heard[header:]
		messages = append(messages, heard[:min(length, len(heard))]...)
		heard = heard[min(length, len(heard)):]
	}
	return messages
}

// cutVector takes what has its length in three bytes before it.
func cutVector(b []byte) (vector, rest []byte, ok bool) {
	if len(b) < 3 {
		return nil, nil, false
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	b = b[3:]
	if length > len(b) {
		return nil, nil, false
	}
	return b[:length], b[length:], true
}
