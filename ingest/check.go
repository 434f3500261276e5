package ingest

// Who signed each of a list of hashes.

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

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
	// maxCheckBody bounds its body, in bytes: names of some 350 bytes may stand beside the hashes. It is read as it comes,
	// so it takes no memory.
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
	in := &bounded{from: body, left: maxCheckBody}
	hashes, p := parseHashes(bufio.NewReaderSize(in, longestLine))
	if in.err != nil && !errors.Is(in.err, io.EOF) { // whatever was read then is not all of it
		return nil, problemOf(body.Explain(in.err), true)
	}
	if p != nil {
		return nil, p
	}
	if err := body.Check(); err != nil {
		return nil, problemOf(body.Explain(err), true)
	}
	return hashes, nil
}

// bounded reads so many bytes, and remembers what the reading ended with.
type bounded struct {
	from io.Reader
	left int
	err  error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.from.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		n, err = 0, problem.BodyTooLarge(maxCheckBody)
	}
	b.err = err
	return n, err
}

// parseHashes reads a JSON list of strings, or lines: each a JSON string, or as sha256sum writes it. It reads no further
// than to what is wrong, and keeps nothing but the hashes.
func parseHashes(r *bufio.Reader) ([][32]byte, *problem.Problem) {
	if mark, _ := r.Peek(3); string(mark) == "\ufeff" {
		_, _ = r.Discard(len(mark)) // it is there
	}
	for line := 1; ; {
		head, _ := r.Peek(1) // what the reading ends with is known to the caller
		if len(head) == 0 {
			return nil, nil
		}
		first := head[0]
		switch {
		case first == 0 || first >= 0xfe:
			return nil, problem.MalformedHashes("the body is not UTF-8, but looks like UTF-16", -1)
		case first == '[' || first == '{':
			return parseHashList(json.NewDecoder(r))
		case first != '\n' && first != ' ' && first != '\t' && first != '\r':
			return parseHashLines(r, line)
		case first == '\n':
			line++
		}
		_, _ = r.Discard(1) // it is there
	}
}

// longestLine bounds a line, in bytes: a name may stand behind the hash.
const longestLine = 64 << 10

// parseHashLines reads lines from the one with this number on, counted from 1.
func parseHashLines(r *bufio.Reader, number int) (hashes [][32]byte, p *problem.Problem) {
	for ; ; number++ {
		line, long := nextLine(r)
		if long {
			return nil, problem.MalformedHashes(fmt.Sprintf("line %d is longer than %d bytes", number, longestLine), number-1)
		}
		if len(line) == 0 {
			return hashes, nil
		}
		written, ok, wrong := hashOfLine(line)
		switch {
		case wrong != nil && bytes.IndexByte(line, 0) >= 0:
			return nil, problem.MalformedHashes("the body is not UTF-8: it has zero bytes, as UTF-16 has", -1)
		case wrong != nil:
			return nil, problem.MalformedHashes(fmt.Sprintf("line %d is %s", number, wrong), number-1)
		case ok:
			if hashes, p = appendHash(hashes, written, fmt.Sprintf("line %d", number), number-1); p != nil {
				return nil, p
			}
		}
	}
}

// nextLine returns the next line with its end; empty: there is none. long says that the reader has no room for it. What
// the reading ends with is known to the caller.
func nextLine(r *bufio.Reader) (line []byte, long bool) {
	line, err := r.ReadSlice('\n')
	return line, errors.Is(err, bufio.ErrBufferFull)
}

func parseHashList(d *json.Decoder) (hashes [][32]byte, p *problem.Problem) {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, problem.MalformedHashes("the body is an object where a list of strings was expected", -1)
	}
	for i := 0; d.More(); i++ {
		var written string
		err := d.Decode(&written)
		if wrongType := new(json.UnmarshalTypeError); errors.As(err, &wrongType) {
			return nil, problem.MalformedHashes(fmt.Sprintf("element %d is %s where a string was expected", i, article(wrongType.Value)), i)
		}
		if err != nil {
			return nil, problem.MalformedHashes(fmt.Sprintf("element %d of the JSON list can't be read: %v", i, err), i)
		}
		if hashes, p = appendHash(hashes, written, fmt.Sprintf("element %d", i), i); p != nil {
			return nil, p
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, problem.MalformedHashes("the JSON list has no end: "+err.Error(), -1)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, problem.MalformedHashes("something follows the JSON list", -1)
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
