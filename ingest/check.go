package ingest

// Who signed each of a list of hashes.

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"countersign/ingest/admission"
	"countersign/ingest/internal/jsontext"
	"countersign/ingest/jsonstream"
	"countersign/ingest/problem"
	"countersign/ingest/server"
	"countersign/internal/sumfile"
	"countersign/sink/store"
)

const (
	// maxChecked is how many hashes one call may ask about.
	maxChecked = 10_000
	// maxCheckBody bounds its body, in bytes: names of some 350 bytes may stand beside the hashes.
	maxCheckBody = 4 << 20
)

// admitCheck admits POST /api/v1/check. Its places are its own: who asks never stands in the way of who uploads.
func (s *Server) admitCheck(x *server.Exchange) (server.Handler, *problem.Problem) {
	if p := x.AdmitBody(); p != nil {
		return nil, p
	}
	if s.http.Stopping() {
		return nil, problem.Stopping()
	}
	if _, p := enterBody(x, s.admission.Checks, admission.Who{Client: x.Client()}); p != nil {
		return nil, p
	}
	return s.serveCheck, nil
}

// serveCheck is POST /api/v1/check.
func (s *Server) serveCheck(x *server.Exchange) *problem.Problem {
	hashes, p := receiveHashes(x)
	if p != nil {
		return p
	}
	ctx, cancel := s.asking(x)
	defer cancel()
	if p := s.reserve(ctx, x, checkBytes(len(hashes))); p != nil {
		return p
	}
	signers, err := s.results.Signers(ctx, hashes)
	if err != nil {
		return unanswered("who signed these hashes", err)
	}
	x.ReplyJSON(appendChecked(nil, hashes, signers))
	return nil
}

func receiveHashes(x *server.Exchange) ([][32]byte, *problem.Problem) {
	body, p := x.OpenBody()
	if p != nil {
		return nil, p
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxCheckBody+1))
	if err == nil && len(text) > maxCheckBody {
		err = problem.BodyTooLarge(maxCheckBody)
	}
	if err == nil {
		err = body.Check()
	}
	if err != nil {
		return nil, problemOf(body.Explain(err), true)
	}
	return parseHashes(text)
}

// parseHashes reads a JSON list of strings, or lines: each a JSON string, or as sha256sum writes it.
func parseHashes(text []byte) ([][32]byte, *problem.Problem) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) && bytes.IndexByte(text, 0) >= 0 {
		return nil, problem.MalformedHashes("the body is not UTF-8: it has zero bytes, as UTF-16 has", -1)
	}
	if first := bytes.TrimLeft(text, " \t\r\n"); len(first) > 0 && (first[0] == '[' || first[0] == '{') {
		return parseHashList(first)
	}
	var hashes [][32]byte
	number := 0
	for line := range bytes.Lines(text) {
		number++
		written, ok, err := hashOfLine(line)
		if err != nil {
			return nil, problem.MalformedHashes(fmt.Sprintf("line %d is %s", number, err), number-1)
		}
		if !ok {
			continue
		}
		var p *problem.Problem
		if hashes, p = appendHash(hashes, written, fmt.Sprintf("line %d", number), number-1); p != nil {
			return nil, p
		}
	}
	return hashes, nil
}

func parseHashList(text []byte) ([][32]byte, *problem.Problem) {
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		reason := "the body begins as a JSON list of strings, and is none: " + err.Error()
		if wrongType := new(json.UnmarshalTypeError); errors.As(err, &wrongType) {
			reason = fmt.Sprintf("the body is JSON, and at byte %d there is %s where a list of strings was expected",
				wrongType.Offset, article(wrongType.Value))
		}
		return nil, problem.MalformedHashes(reason, -1)
	}
	var hashes [][32]byte
	var p *problem.Problem
	for i, written := range list {
		if hashes, p = appendHash(hashes, written, fmt.Sprintf("element %d", i), i); p != nil {
			return nil, p
		}
	}
	return hashes, nil
}

// article puts "an" or "a" before the name of a JSON value.
func article(value string) string {
	if value == "object" || value == "array" {
		return "an " + value
	}
	return "a " + value
}

// hashOfLine returns the text of the hash in a line. ok is false where the line has nothing.
func hashOfLine(line []byte) (written string, ok bool, err error) {
	if line[0] == '"' {
		err := json.Unmarshal(bytes.TrimRight(line, ",\r\n\t "), &written)
		if err != nil {
			return "", false, errors.New("not a JSON string")
		}
		return written, true, nil
	}
	e, ok, err := sumfile.Parse(string(line))
	return e.Hash, ok, err
}

// appendHash appends a hash as it was written. where is the place in the body, for people, and element for programs.
func appendHash(hashes [][32]byte, written, where string, element int) ([][32]byte, *problem.Problem) {
	if len(hashes) == maxChecked {
		return nil, problem.TooManyHashes(maxChecked, element)
	}
	hash, _, reason := jsonstream.ParseHash(written)
	if reason != "" {
		return nil, problem.MalformedHashes(where+" is "+reason, element)
	}
	return append(hashes, hash), nil
}

// checkBytes is how much memory the reply about so many hashes takes, while it is put together. A hash that a site signed
// has some 300 bytes of JSON, and others that signed it, too, some 200 each; both stand beside the rows that they are
// made from.
func checkBytes(hashes int) int64 { return 1024 * int64(hashes) }

// appendChecked appends the reply: the hashes in their order, one a line, and how many of them somebody has signed.
func appendChecked(dst []byte, hashes [][32]byte, signers []store.Signers) []byte {
	signed := 0
	for i := range signers {
		if signers[i].Owner.Site != "" {
			signed++
		}
	}
	dst = strconv.AppendInt(append(dst, `{"checked":`...), int64(len(hashes)), 10)
	dst = strconv.AppendInt(append(dst, `,"signed":`...), int64(signed), 10)
	dst = append(dst, `,"hashes":[`...)
	for i := range hashes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSigners(append(dst, '\n'), hashes[i], &signers[i])
	}
	return append(dst, "\n]}\n"...)
}

func appendSigners(dst []byte, hash [32]byte, s *store.Signers) []byte {
	dst = jsontext.AppendString(append(dst, `{"hash":`...), hex.EncodeToString(hash[:]))
	if s.Owner.Site == "" {
		return append(dst, `,"signed":false}`...)
	}
	dst = appendSigner(append(dst, `,"signed":true,`...), hash, &s.Owner)
	return append(appendAlso(dst, hash, &s.Also, appendSigner), '}')
}
