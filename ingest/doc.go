// Package ingest is the stage that accepts uploads: it reads them into the log, answers the polls about them, and
// serves the calls that wait for their result. What the API promises to its callers is in docs/contract.md, rule by
// rule.
//
// It owns the admission of requests, the UUIDs of uploads, attempts and seals in topic uploads, and the bytes of the
// replies.
//
// It promises: a 200 for an upload leaves only when the log holds every pair and its seal, flushed (I1); any other
// answer means that nothing of the upload will ever be kept, except where the answer says that this can't be known, and
// then it carries the upload's UUID (I2); memory, waits and open bodies have the bounds that [Config] states, and past
// them the caller hears so before its body is read (I6); no bytes make it panic or wait beyond a deadline (I7). What
// one process has told a caller another one confirms.
//
// # Order of reading
//
// config.go is the manual, server.go the table of calls. A request with pairs passes admission.go, then upload.go,
// sync.go or single.go; attempt.go sends its pairs to the log while they arrive, accept.go decides what the upload is
// called and when it counts as accepted. poll.go, check.go and proof.go are the calls that ask. reply.go and
// problems.go write the answers, kafka.go is the log of a running process, health.go, log.go and metrics.go are for
// operators.
//
// Below it are the rooms that know less: [countersign/ingest/server] is HTTP, [countersign/ingest/jsonstream] turns
// bytes into pairs, [countersign/ingest/results] knows what became of uploads, [countersign/ingest/problem] has every
// error, [countersign/ingest/web] is for people.
//
// It must not know fasthttp, certificates, signatures or who owns a hash.
package ingest
