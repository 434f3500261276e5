package problem

// One example of each kind, for the pages that explain them.

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Examples has one problem of each kind, in the order of their statuses.
func Examples() []*Problem {
	id := uuid.MustParse("06b0ac02-bb62-4052-b48b-d875e26561f8")
	examples := []*Problem{
		MalformedRequest("The request can't be read as HTTP/1.1."),
		InvalidParameter("hash", "it is missing"),
		InvalidSite(errors.New(`"192.0.2.1" is an address`)),
		InvalidKey(),
		MalformedBody(errors.New("the body is not a list of pairs of strings: element 1, at byte 90: "+
			"the signature, second of a pair, must be a string, found a number"), 1, 90),
		MalformedHashes("element 0 is not a SHA-256 in hex: 3 characters, want 64", 0),
		CutOff(500, 1000),
		DamagedEncoding("gzip", errors.New("invalid checksum")),
		NotFound("/api/v1/nothing"),
		UnknownUpload(id.String()),
		UnknownBatch("4", 2, 1),
		UnknownHash("2804fbcd69ab84e985955431a5dcdb20b0d999be2bf9e90280cdf030e94c15dc"),
		UnknownCertificate("1f0e"),
		MethodNotAllowed(http.MethodPut, "GET, OPTIONS, POST"),
		Stalled(30 * time.Second),
		TooSlow(10 * time.Minute),
		BodyTooLarge(512 << 20),
		UnfoldsTooFar(6418, 193_896),
		TooManyPairs(1_000_000, false, 1_000_000, 90_000_000),
		TooManyHashes(10_000, 10_000),
		ElementTooLong(errors.New("element 1, at byte 90, is longer than 65536 bytes, the most that one pair may "+
			"take: send the hash in hex and its signature in base64, nothing else"), 64<<10, 1, 90),
		UnsupportedEncoding("br"),
		OverShare(32, time.Second),
		HeadTooLarge(16 << 10),
		Internal(nil),
		CertificateUnavailable("example.com", "connection refused"),
		Busy(64),
		Backlog(20_001, 20_000),
		LogUnavailable(nil),
		DiskFull(nil),
		StoreUnavailable(nil),
		NotKnownYet("upload "+id.String(), nil),
		OutcomeUnknown(id, nil),
		Stopping(),
		NotFinished(id, 30*time.Second, nil),
	}
	slices.SortStableFunc(examples, func(a, b *Problem) int { return a.Status - b.Status })
	return examples
}
