package ingest

// What someone needs who does not take this server's word: the signature comes with GET /api/v1/hash/:hash, the certificate that it was
// checked with from here. The page says what to do with them.

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"

	"countersign/ingest/problem"
	"countersign/sink/store"
)

// Chains is where the certificates that decided can be read.
type Chains interface {
	// Certificate returns the chain whose leaf has this SHA-256, and whether it was ever seen.
	Certificate(ctx context.Context, fingerprint [32]byte) (store.Certificate, bool, error)
}

// serveCertificate is GET /api/v1/certificate/:fingerprint: a chain in PEM, leaf first (RFC 8555, section 9.1).
func serveCertificate(x *exchange) *problem.Problem {
	var fingerprint [32]byte
	text := x.args[0]
	if n, err := hex.Decode(fingerprint[:], []byte(text[:min(len(text), 2*len(fingerprint))])); err != nil || n != len(fingerprint) || len(text) != 2*n {
		return problem.InvalidParameter("fingerprint", "it is not a SHA-256 in hex: use the certificate of a reply of /api/v1/hash/:hash")
	}
	if x.srv.cfg.Chains == nil {
		return problem.UnknownCertificate(text)
	}
	ctx, cancel := context.WithTimeout(x.srv.base, x.srv.cfg.StoreTimeout)
	defer cancel()
	found, ok, err := x.srv.cfg.Chains.Certificate(ctx, fingerprint)
	if err != nil {
		return problem.StoreUnavailable(err)
	}
	if !ok {
		return problem.UnknownCertificate(text)
	}
	var chain bytes.Buffer
	for _, der := range found.Chain {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	x.ctx.SetContentType("application/pem-certificate-chain")
	x.ctx.Response.Header.Set("Content-Disposition", `attachment; filename="`+found.Site+`.pem"`)
	x.ctx.Response.SetBodyRaw(chain.Bytes())
	return nil
}
