package problem

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// What can go wrong, and what the caller is told to do about it: one constructor each.

// Requests that fit no call.

func NotFound(path string) *Problem {
	return newProblem(http.StatusNotFound, "not-found", "No such call",
		fmt.Sprintf("There is no call %s: see /openapi.json for those there are.", quote(path)))
}

func MethodNotAllowed(method, allow string) *Problem {
	p := newProblem(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed",
		fmt.Sprintf("This call does not take %s: use one of %s.", quote(method), allow))
	p.Header = [2]string{"Allow", allow}
	return p
}

func MalformedRequest(reason string) *Problem {
	return newProblem(http.StatusBadRequest, "malformed-request", "Malformed HTTP request", reason)
}

// BrokenPath is for a path whose percent-encoding can't be read.
func BrokenPath(err error) *Problem {
	return MalformedRequest("The path has a broken percent-encoding: " + sentence(err.Error()))
}

// UnknownProtocol is for a request that is not HTTP/1.1 or 1.0.
func UnknownProtocol(version string) *Problem {
	return MalformedRequest("The request says " + quote(version) + ": this server speaks HTTP/1.1.")
}

func HeadTooLarge(limit int) *Problem {
	p := newProblem(http.StatusRequestHeaderFieldsTooLarge, "head-too-large", "Request head too large",
		fmt.Sprintf("Request line and header fields may take %d bytes together: leave out cookies and other fields that are not needed.", limit))
	p.Limit = int64(limit)
	return p
}

func InvalidParameter(name, reason string) *Problem {
	return newProblem(http.StatusBadRequest, "invalid-parameter", "Invalid parameter", "Parameter "+name+": "+reason+".")
}

func InvalidSite(err error) *Problem {
	return newProblem(http.StatusBadRequest, "invalid-site", "Not a site name",
		sentence(err.Error())+" The site is part of the path: use the host name that its certificate is for.")
}

func InvalidKey() *Problem {
	return newProblem(http.StatusBadRequest, "invalid-idempotency-key", "Invalid Idempotency-Key",
		"Idempotency-Key takes 1 to 255 visible ASCII characters: a random UUID does well.")
}

// Bodies.

func BodyTooLarge(limit int64) *Problem {
	p := newProblem(http.StatusRequestEntityTooLarge, "body-too-large", "Body too large",
		fmt.Sprintf("A body may have %d bytes, as sent and after decompression: send the pairs in several requests.", limit))
	p.Limit = limit
	return p
}

func TooManyPairs(limit int64, sync bool, element int, offset int64) *Problem {
	detail := fmt.Sprintf("One upload takes %d pairs: send the rest in another request.", limit)
	if sync {
		detail = fmt.Sprintf("The synchronous call takes %d pairs: send more than that to the bulk call, POST /api/v1/asyncsign/:url.", limit)
	}
	p := newProblem(http.StatusRequestEntityTooLarge, "too-many-pairs", "Too many pairs", detail)
	p.Limit, p.Element, p.Offset = limit, element, offset
	return p
}

// MalformedBody says where a body stops being a list of pairs.
func MalformedBody(syntax error, element int, offset int64) *Problem {
	p := newProblem(http.StatusBadRequest, "malformed-body", "Not a list of pairs of strings",
		sentence(syntax.Error())+` Nothing of it was kept. A body looks like [["hash","signature"],["hash","signature"]].`)
	p.Element, p.Offset = element, offset
	return p
}

// ElementTooLong says which element of the list has more than limit bytes.
func ElementTooLong(tooLong error, limit int64, element int, offset int64) *Problem {
	p := newProblem(http.StatusRequestEntityTooLarge, "element-too-long", "Pair too long", sentence(tooLong.Error()))
	p.Element, p.Offset, p.Limit = element, offset, limit
	return p
}

func UnsupportedEncoding(coding string) *Problem {
	p := newProblem(http.StatusUnsupportedMediaType, "unsupported-encoding", "Content encoding not supported",
		fmt.Sprintf("Content-Encoding %s is not supported: send gzip, zstd, or the plain body.", quote(coding)))
	p.Header = [2]string{"Accept-Encoding", "gzip, zstd, identity"}
	return p
}

func DamagedEncoding(coding string, err error) *Problem {
	p := newProblem(http.StatusBadRequest, "damaged-encoding", "Damaged compressed body",
		fmt.Sprintf("The body can't be decompressed as %s (%v): nothing of it was kept; compress it again and send it whole.", coding, err))
	p.cause = err
	return p
}

func CutOff(got, want int64) *Problem {
	detail := fmt.Sprintf("The body ended after %d bytes, without a last chunk: nothing of it was kept; send it again.", got)
	if want >= 0 {
		detail = fmt.Sprintf("The body ended after %d of %d announced bytes: nothing of it was kept; send it again.", got, want)
	}
	p := newProblem(http.StatusBadRequest, "cut-off", "Body cut off", detail)
	p.Offset = got
	return p
}

func BrokenChunks(got int64) *Problem {
	p := MalformedRequest(fmt.Sprintf("The chunks of the body are not framed as in RFC 9112, section 7.1, after %d bytes of it: nothing of it was kept.", got))
	p.Offset = got
	return p
}

func HeadStalled(after time.Duration) *Problem {
	return newProblem(http.StatusRequestTimeout, "stalled", "Request stalled",
		fmt.Sprintf("The request's head was not complete, or its body had not begun, after %s: send it again.", after))
}

func Stalled(after time.Duration) *Problem {
	return newProblem(http.StatusRequestTimeout, "stalled", "Request stalled",
		fmt.Sprintf("Nothing came for %s, though the request is not complete: nothing of it was kept; send it again.", after))
}

func TooSlow(after time.Duration) *Problem {
	return newProblem(http.StatusRequestTimeout, "too-slow", "Body too slow",
		fmt.Sprintf("The body took longer than %s: nothing of it was kept; send fewer pairs in one request, or compress them with gzip or zstd.", after))
}

// Admission.

func TooManyConnections(limit int) *Problem {
	p := unavailable("busy", "Too many connections",
		fmt.Sprintf("%d connections are open, the most at a time: try again in a moment.", limit), time.Second)
	p.Limit = int64(limit)
	return p
}

func Busy(open int) *Problem {
	p := unavailable("busy", "Too many requests at once",
		fmt.Sprintf("%d requests of this kind are open, the most at a time: try again in a moment.", open), time.Second)
	p.Limit = int64(open)
	return p
}

func Backlog(waiting, limit int64) *Problem {
	p := unavailable("backlog", "Too much is waiting",
		fmt.Sprintf("%d records wait to be processed, more than the limit of %d: try again later.", waiting, limit), 30*time.Second)
	p.Limit = limit
	return p
}

func TooManyUnrecorded(limit int) *Problem {
	p := unavailable("store-unavailable", "Database away",
		fmt.Sprintf("%d accepted uploads wait for the database, the most at a time: try again later.", limit), 30*time.Second)
	p.Limit = int64(limit)
	return p
}

func Stopping() *Problem {
	return unavailable("stopping", "Shutting down", "This server is shutting down, and nothing of the request was kept: try again, another one will answer.", time.Second)
}

// The log and the store.

func LogUnavailable(cause error) *Problem {
	p := unavailable("log-unavailable", "Log away", "The upload could not be stored and nothing of it was kept: try again later.", 5*time.Second)
	p.cause = cause
	return p
}

func OutcomeUnknown(id uuid.UUID, cause error) *Problem {
	p := unavailable("outcome-unknown", "It is not known whether the upload was accepted",
		fmt.Sprintf("The log went away while the upload was being completed, so it may be processed in full, or not at all: "+
			"ask GET /api/v1/resultasync/%s in a minute. As long as that says 404, it was not accepted; then send it again.", id), 60*time.Second)
	p.Upload, p.cause = id, cause
	return p
}

func StoreUnavailable(cause error) *Problem {
	p := unavailable("store-unavailable", "Database away", "The database that holds the results does not answer: try again later.", 5*time.Second)
	p.cause = cause
	return p
}

func Internal(cause error) *Problem {
	p := newProblem(http.StatusInternalServerError, "internal", "Internal error", "The server failed in a way it should not: try again, and tell its operator if it stays.")
	p.cause = cause
	return p
}

// Results.

func UnknownUpload(text string) *Problem {
	return newProblem(http.StatusNotFound, "unknown-upload", "Unknown upload",
		fmt.Sprintf("There is no upload %s, or it is older than 48 hours: use the UUID that the upload was answered with.", quote(text)))
}

func UnknownBatch(text string, done, waiting int) *Problem {
	detail := fmt.Sprintf("Batch %s is not done: ask for a number from 1 to doneBatch, which is %d now.", quote(text), done)
	switch {
	case done+waiting == 0:
		detail = fmt.Sprintf("There is no batch %s: the upload was an empty list, and has none.", quote(text))
	case waiting == 0:
		detail = fmt.Sprintf("There is no batch %s: this upload's are 1 to %d, and all are done.", quote(text), done)
	case done == 0:
		detail = fmt.Sprintf("Batch %s is not done: no batch is yet; ask for the status, and for batches from 1 to its doneBatch.", quote(text))
	}
	return newProblem(http.StatusNotFound, "unknown-batch", "Unknown batch", detail)
}

func UnknownHash(hash string) *Problem {
	return newProblem(http.StatusNotFound, "unknown-hash", "Not signed", "Nobody has signed a file with SHA-256 "+hash+" here.")
}

func UnknownCertificate(fingerprint string) *Problem {
	return newProblem(http.StatusNotFound, "unknown-certificate", "Unknown certificate",
		fmt.Sprintf("No certificate with SHA-256 %s is kept here: use the certificate of a reply of /api/v1/hash/:hash, or get it from its site.", quote(fingerprint)))
}

func CertificateUnavailable(site, reason string) *Problem {
	return newProblem(http.StatusBadGateway, "certificate-unavailable", "Certificate unavailable",
		fmt.Sprintf("The signature was not checked, for the certificate of %s could not be had: %s. Try again once the site serves it.",
			site, strings.TrimSuffix(reason, ".")))
}

func NotFinished(id uuid.UUID, waited time.Duration, cause error) *Problem {
	p := newProblem(http.StatusGatewayTimeout, "not-finished", "Not finished yet",
		fmt.Sprintf("The request was accepted, but has no result after %s: ask GET /api/v1/resultasync/%s until waitingBatch is 0.", waited, id))
	p.Upload, p.cause = id, cause
	return p
}

// NotFinishedByStop is NotFinished for a caller who can't wait any longer because the server stops.
func NotFinishedByStop(id uuid.UUID, cause error) *Problem {
	p := NotFinished(id, 0, cause)
	p.Detail = "The server shuts down. The request was accepted and goes on without it: ask GET /api/v1/resultasync/" + id.String() +
		" until waitingBatch is 0."
	return p
}
