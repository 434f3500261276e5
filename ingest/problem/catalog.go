package problem

// What can go wrong, and what the caller is told to do about it: one constructor each.

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Requests that fit no call.

// NotFound says that no call has this path.
func NotFound(path string) *Problem {
	hint := ""
	if strings.Index(path, "/api/v1/") > 0 {
		hint = " If a proxy passes its own prefix on: leave it out there, or name it with --public-url."
	}
	return newProblem(http.StatusNotFound, "not-found", "No such call",
		"There is no call %s: see /openapi.json for those there are.%s", quote(path), hint)
}

// MethodNotAllowed says that the path has calls, but none of this method. allow is the value of an Allow header.
func MethodNotAllowed(method, allow string) *Problem {
	p := newProblem(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed",
		"This call does not take %s: use one of %s.", quote(method), allow)
	p.Header = [2]string{"Allow", allow}
	return p
}

// MalformedRequest says why a request can't be read as HTTP. reason is one sentence or more.
func MalformedRequest(reason string) *Problem {
	return newProblem(http.StatusBadRequest, "malformed-request", "Malformed HTTP request", "%s", reason)
}

// BrokenPath is for a path whose percent-encoding can't be read.
func BrokenPath(err error) *Problem {
	return MalformedRequest("The path has a broken percent-encoding: " + sentence(err.Error()))
}

// UnknownProtocol is for a request that is not HTTP/1.1 or 1.0.
func UnknownProtocol(version string) *Problem {
	return MalformedRequest("The request says " + quote(version) + ": this server speaks HTTP/1.1.")
}

// HeadTooLarge says that the head has more than limit bytes.
func HeadTooLarge(limit int) *Problem {
	p := newProblem(http.StatusRequestHeaderFieldsTooLarge, "head-too-large", "Request head too large",
		"Request line and header fields may take %d bytes together: leave out cookies and other fields that are not needed.",
		limit)
	p.Limit = int64(limit)
	return p
}

// InvalidParameter says what is wrong with a parameter of the path or the query. reason has no full stop.
func InvalidParameter(name, reason string) *Problem {
	return newProblem(http.StatusBadRequest, "invalid-parameter", "Invalid parameter", "Parameter %s: %s.", name, reason)
}

// InvalidSite says why the path has no site.
func InvalidSite(err error) *Problem {
	return newProblem(http.StatusBadRequest, "invalid-site", "Not a site name",
		"%s The site is part of the path: use the host name that its certificate is for.", sentence(err.Error()))
}

// InvalidKey is for an Idempotency-Key that is none, or is there twice.
func InvalidKey() *Problem {
	return newProblem(http.StatusBadRequest, "invalid-idempotency-key", "Invalid Idempotency-Key",
		"Idempotency-Key takes 1 to 255 visible ASCII characters: a random UUID does well.")
}

// Bodies.

// BodyTooLarge says that the body has more than limit bytes, as sent or decompressed.
func BodyTooLarge(limit int64) *Problem {
	p := newProblem(http.StatusRequestEntityTooLarge, "body-too-large", "Body too large",
		"A body may have %d bytes, as sent and after decompression: send the pairs in several requests.", limit)
	p.Limit = limit
	return p
}

// TooManyPairs says that the list has more than limit pairs. sync is for the synchronous call. element and offset are
// where the first one too many is.
func TooManyPairs(limit int64, sync bool, element int, offset int64) *Problem {
	detail := "One upload takes %d pairs: send the rest in another request."
	if sync {
		detail = "The synchronous call takes %d pairs: send more than that to the bulk call, POST /api/v1/asyncsign/:url."
	}
	p := newProblem(http.StatusRequestEntityTooLarge, "too-many-pairs", "Too many pairs", "%s", fmt.Sprintf(detail, limit))
	p.Limit, p.Element, p.Offset = limit, element, offset
	return p
}

// MalformedBody says where a body stops being a list of pairs. element is -1 outside of the list's elements.
func MalformedBody(syntax error, element int, offset int64) *Problem {
	p := newProblem(http.StatusBadRequest, "malformed-body", "Not a list of pairs of strings",
		`%s Nothing of it was kept. A body looks like [["hash","signature"],["hash","signature"]].`, sentence(syntax.Error()))
	p.Element, p.Offset = element, offset
	return p
}

// MalformedHashes says what in a body is no hash. reason has no full stop. element is the index in the list or of the
// line; -1: it is about the whole.
func MalformedHashes(reason string, element int) *Problem {
	p := newProblem(http.StatusBadRequest, "malformed-hashes", "Not a list of hashes",
		`%s A body is a JSON list ["hash","hash"], or one hash a line, alone or as sha256sum writes it.`, sentence(reason))
	p.Element = element
	return p
}

// TooManyHashes says that the list has more than limit hashes. element is the index of the first one too many.
func TooManyHashes(limit int64, element int) *Problem {
	p := newProblem(http.StatusRequestEntityTooLarge, "too-many-hashes", "Too many hashes",
		"One call takes %d hashes: send the rest in another request.", limit)
	p.Limit, p.Element = limit, element
	return p
}

// ElementTooLong says which element of the list has more than limit bytes.
func ElementTooLong(tooLong error, limit int64, element int, offset int64) *Problem {
	p := newProblem(http.StatusRequestEntityTooLarge, "element-too-long", "Pair too long", "%s", sentence(tooLong.Error()))
	p.Element, p.Offset, p.Limit = element, offset, limit
	return p
}

// UnsupportedEncoding is for a Content-Encoding that is not spoken here.
func UnsupportedEncoding(coding string) *Problem {
	p := newProblem(http.StatusUnsupportedMediaType, "unsupported-encoding", "Content encoding not supported",
		"Content-Encoding %s is not supported: send gzip, zstd, or the plain body.", quote(coding))
	p.Header = [2]string{"Accept-Encoding", "gzip, zstd, identity"}
	return p
}

// DamagedEncoding says why a body can't be decompressed.
func DamagedEncoding(coding string, err error) *Problem {
	p := newProblem(http.StatusBadRequest, "damaged-encoding", "Damaged compressed body",
		"The body can't be decompressed as %s (%v): nothing of it was kept; compress it again and send it whole.",
		coding, err)
	p.cause = err
	return p
}

// UnsupportedCompression is for a body of a coding that is spoken here, compressed in a way that is not. reason says
// what it has, and what would do; it has no full stop.
func UnsupportedCompression(coding, reason string) *Problem {
	return newProblem(http.StatusUnsupportedMediaType, "unsupported-encoding", "Content encoding not supported",
		"The body can't be decompressed as %s, for %s: nothing of it was kept.", coding, reason)
}

// OtherEncoding is for a body that is not in the coding that its head names. found says what it is instead, and what to
// do; it has no full stop.
func OtherEncoding(coding, found string) *Problem {
	return newProblem(http.StatusBadRequest, "damaged-encoding", "Damaged compressed body",
		"The body is not %s, though Content-Encoding says so. It is %s. Nothing of it was kept.", coding, found)
}

// CutOff is for a body that ended after got of want bytes. want is -1 for a body in chunks.
func CutOff(got, want int64) *Problem {
	detail := fmt.Sprintf("The body ended after %d bytes, without a last chunk", got)
	if want >= 0 {
		detail = fmt.Sprintf("The body ended after %d of %d announced bytes", got, want)
	}
	p := newProblem(http.StatusBadRequest, "cut-off", "Body cut off", "%s: nothing of it was kept; send it again.", detail)
	p.Offset = got
	return p
}

// BrokenChunks is for a body whose chunks can't be told apart after got bytes.
func BrokenChunks(got int64) *Problem {
	p := MalformedRequest(fmt.Sprintf("The chunks of the body are not framed as in RFC 9112, section 7.1, after %d bytes "+
		"of it: nothing of it was kept.", got))
	p.Offset = got
	return p
}

// HeadStalled is for a head that did not come in time.
func HeadStalled(after time.Duration) *Problem {
	return newProblem(http.StatusRequestTimeout, "stalled", "Request stalled",
		"The request's head was not complete, or its body had not begun, after %s: send it again.", after)
}

// Stalled is for a body of which nothing came for a while.
func Stalled(after time.Duration) *Problem {
	return newProblem(http.StatusRequestTimeout, "stalled", "Request stalled",
		"Nothing came for %s, though the request is not complete: nothing of it was kept; send it again.", after)
}

// TooSlow is for a body that kept coming, but took too long.
func TooSlow(after time.Duration) *Problem {
	return newProblem(http.StatusRequestTimeout, "too-slow", "Body too slow",
		"The body took longer than %s: nothing of it was kept; send fewer pairs in one request, or compress them with gzip "+
			"or zstd.", after)
}

// UnfoldsTooFar says that the first sent bytes of a compressed body unfold to more than limit bytes.
func UnfoldsTooFar(sent, limit int64) *Problem {
	p := newProblem(http.StatusRequestEntityTooLarge, "unfolds-too-far", "Compressed body unfolds too far",
		"The first %d bytes of the body unfold to more than %d: nothing of it was kept. Hashes and signatures don't "+
			"compress so well at any level: send each pair once and without padding, or send the plain body.", sent, limit)
	p.Limit = limit
	return p
}

// TooSlowForOthers is for a body that was so slow that its place went to another client.
func TooSlowForOthers(rate int64) *Problem {
	p := newProblem(http.StatusRequestTimeout, "too-slow", "Body too slow",
		"Others wait to send, and the body came more slowly than %d bytes a second: nothing of it was kept; send it again, "+
			"in one piece, or compress it with gzip or zstd.", rate)
	p.RetryAfter = time.Second
	return p
}

// Admission.

// OverShare says that the client has the share of places, limit, that it may have while others wait.
func OverShare(limit int64, after time.Duration) *Problem {
	return overShare(limit, after, "While others wait, one client may have %d requests of this kind open at a time: "+
		"nothing of this one was kept; try again in a moment.", limit)
}

// OverUndecidedShare says that the client's accepted uploads have more undecided records than its share, limit.
func OverUndecidedShare(limit int64, after time.Duration) *Problem {
	return overShare(limit, after, "Much is waiting to be verified and stored, and more than this client's share of %d "+
		"records is of its own uploads: try again when some of them are done.", limit)
}

func overShare(limit int64, after time.Duration, format string, args ...any) *Problem {
	p := newProblem(http.StatusTooManyRequests, "over-share", "More than this client's share", format, args...)
	p.Limit, p.RetryAfter = limit, after
	return p
}

// TooManyConnections says that limit connections are open.
func TooManyConnections(limit int) *Problem {
	p := unavailable("busy", "Too many connections", time.Second,
		"%d connections are open, the most at a time: try again in a moment.", limit)
	p.Limit = int64(limit)
	return p
}

// Busy says that limit requests of this kind are open.
func Busy(limit int) *Problem {
	p := unavailable("busy", "Too many requests at once", time.Second,
		"%d requests of this kind are open, the most at a time: try again in a moment.", limit)
	p.Limit = int64(limit)
	return p
}

// TooManyAtOnce says that so many requests come that this one had no turn.
func TooManyAtOnce(after time.Duration) *Problem {
	return unavailable("busy", "Too many requests at once", after,
		"More connections and requests come than can be served, and the turn of this one didn't come in time: try again in a moment.")
}

// Backlog says that more than limit records wait in the log.
func Backlog(waiting, limit int64) *Problem {
	p := unavailable("backlog", "Too much is waiting", 30*time.Second,
		"%d records wait to be processed, more than the limit of %d: try again later.", waiting, limit)
	p.Limit = limit
	return p
}

// TooManyUnrecorded says that limit uploads were accepted whose rows the database has not taken yet.
func TooManyUnrecorded(limit int) *Problem {
	p := unavailable("store-unavailable", "Database away", 30*time.Second,
		"%d accepted uploads wait for the database, the most at a time: try again later.", limit)
	p.Limit = int64(limit)
	return p
}

// Stopping says that the server shuts down, and that nothing was accepted.
func Stopping() *Problem {
	return unavailable("stopping", "Shutting down", time.Second,
		"This server is shutting down, and nothing of the request was kept: try again, another one will answer.")
}

// The log and the store.

// LogUnavailable says that the upload was not accepted, for the log is away.
func LogUnavailable(cause error) *Problem {
	p := unavailable("log-unavailable", "Log away", 5*time.Second,
		"The upload could not be stored and nothing of it was kept: try again later.")
	p.cause = cause
	return p
}

// DiskFull says that the log's disk has no room, so that the upload was not accepted.
func DiskFull(cause error) *Problem {
	p := unavailable("disk-full", "Disk full", time.Minute,
		"The disk of the service's log is full, and nothing of the upload was kept: try again in some minutes. "+
			"The operator of the service has to make room.")
	p.cause = cause
	return p
}

// OutcomeUnknown says that nobody can know yet whether the upload was accepted (I2).
func OutcomeUnknown(upload uuid.UUID, cause error) *Problem {
	p := unavailable("outcome-unknown", "It is not known whether the upload was accepted", time.Minute,
		"The log went away while the upload was being completed, so it may be processed in full, or not at all: "+
			"ask GET /api/v1/resultasync/%s in a minute. As long as that says 503, it is not known yet; 404 says that it was not "+
			"accepted and never will be: then send it again.",
		upload)
	p.Upload, p.cause = upload, cause
	return p
}

// StoreUnavailable says that the results can't be read.
func StoreUnavailable(cause error) *Problem {
	p := unavailable("store-unavailable", "Database away", 5*time.Second,
		"The database that holds the results does not answer: try again later.")
	p.cause = cause
	return p
}

// NotKnownYet says that this server can't tell yet whether something exists.
func NotKnownYet(what string, cause error) *Problem {
	p := unavailable("not-known-yet", "Not known yet", 2*time.Second,
		"Whether there is %s is not known yet, for not everything that was accepted before is stored, or the log does not "+
			"answer: ask again later.", what)
	p.cause = cause
	return p
}

// Internal is for what should not happen.
func Internal(cause error) *Problem {
	p := newProblem(http.StatusInternalServerError, "internal", "Internal error",
		"The server failed in a way it should not: try again, and tell its operator if it stays.")
	p.cause = cause
	return p
}

// Results.

// UnknownUpload says that no upload has this UUID, or that its results are no longer given out.
func UnknownUpload(text string) *Problem {
	return newProblem(http.StatusNotFound, "unknown-upload", "Unknown upload",
		"There is no upload %s, or it is older than 48 hours: use the UUID that the upload was answered with.", quote(text))
}

// UnknownBatch says that text is no number from 1 to done. waiting is how many batches are not done yet.
func UnknownBatch(text string, done, waiting int) *Problem {
	detail := fmt.Sprintf("Batch %s is not done: ask for a number from 1 to doneBatch, which is %d now.",
		quote(text), done)
	switch {
	case done+waiting == 0:
		detail = fmt.Sprintf("There is no batch %s: the upload was an empty list, and has none.", quote(text))
	case waiting == 0:
		detail = fmt.Sprintf("There is no batch %s: this upload's are 1 to %d, and all are done.", quote(text), done)
	case done == 0:
		detail = fmt.Sprintf("Batch %s is not done: no batch is yet; ask for the status, and for batches from 1 to its "+
			"doneBatch.", quote(text))
	}
	return newProblem(http.StatusNotFound, "unknown-batch", "Unknown batch", "%s", detail)
}

// UnknownHash says that nobody signed this hash.
func UnknownHash(hash string) *Problem {
	return newProblem(http.StatusNotFound, "unknown-hash", "Not signed",
		"Nobody has signed a file with SHA-256 %s here.", hash)
}

// UnknownCertificate says that no certificate with this fingerprint decided anything.
func UnknownCertificate(fingerprint string) *Problem {
	return newProblem(http.StatusNotFound, "unknown-certificate", "Unknown certificate",
		"No certificate with SHA-256 %s is kept here: use the certificate of a reply of /api/v1/hash/:hash, or get it from "+
			"its site.", quote(fingerprint))
}

// CertificateUnavailable says why the certificate of a site could not be had.
func CertificateUnavailable(site, reason string) *Problem {
	return newProblem(http.StatusBadGateway, "certificate-unavailable", "Certificate unavailable",
		"The signature was not checked, for the certificate of %s could not be had: %s. Try again once the site serves it.",
		site, strings.TrimSuffix(reason, "."))
}

// NotFinished says that an upload was accepted whose result did not come in time.
func NotFinished(upload uuid.UUID, waited time.Duration, cause error) *Problem {
	return notFinished(upload, cause, fmt.Sprintf("The request was accepted, but has no result after %s", waited))
}

// NotFinishedForOthers says that an upload was accepted, and that the call's place went to another client before the
// result came.
func NotFinishedForOthers(upload uuid.UUID, cause error) *Problem {
	p := notFinished(upload, cause, "The request was accepted and goes on, but others wait for the place of this call")
	p.RetryAfter = time.Second
	return p
}

// NotFinishedForRoom says that an upload was accepted, and that there is no room for a reply of its size.
func NotFinishedForRoom(upload uuid.UUID, cause error) *Problem {
	p := notFinished(upload, cause, "The request was accepted and goes on, but too many replies of this size are in flight")
	p.RetryAfter = time.Second
	return p
}

// NotFinishedByStop says that an upload was accepted whose result can't be waited for, because the server stops.
func NotFinishedByStop(upload uuid.UUID, cause error) *Problem {
	return notFinished(upload, cause, "The server shuts down. The request was accepted and goes on without it")
}

func notFinished(upload uuid.UUID, cause error, what string) *Problem {
	p := newProblem(http.StatusGatewayTimeout, "not-finished", "Not finished yet",
		"%s: ask GET /api/v1/resultasync/%s until waitingBatch is 0.", what, upload)
	p.Upload, p.cause = upload, cause
	return p
}
