package ingest

// What someone needs who does not take this server's word: the signature comes with GET /api/v1/hash/:hash, the
// certificate that it was checked with from here. The page says what to do with them.

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"

	"countersign/ingest/problem"
	"countersign/ingest/server"
)

// serveCertificate is GET /api/v1/certificate/:fingerprint: a chain in PEM, leaf first (RFC 8555, section 9.1).
func (s *Server) serveCertificate(x *server.Exchange) *problem.Problem {
	text := x.Arg(0)
	var fingerprint [32]byte
	n, err := hex.Decode(fingerprint[:], []byte(text[:min(len(text), 2*len(fingerprint))]))
	if err != nil || n != len(fingerprint) || len(text) != 2*n {
		return problem.InvalidParameter("fingerprint",
			"it is not a SHA-256 in hex: use the certificate of a reply of /api/v1/hash/:hash")
	}
	ctx, cancel := s.asking(x)
	defer cancel()
	found, ok, err := s.results.Certificate(ctx, fingerprint)
	if err != nil {
		return unanswered("that certificate", err)
	}
	if !ok {
		return problem.UnknownCertificate(text)
	}
	size := 0
	for _, der := range found.Chain {
		size += len(der)
	}
	if p := s.reserve(ctx, x, 3*int64(size)); p != nil { // PEM takes 1.4 times as much, in a buffer that grows
		return p
	}
	var chain bytes.Buffer
	for _, der := range found.Chain {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	x.SetField("Content-Disposition", `attachment; filename="`+found.Site+`.pem"`)
	x.Reply("application/pem-certificate-chain", chain.Bytes())
	return nil
}
