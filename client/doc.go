// Package client speaks countersign's API: it sends the hashes and signatures of files, waits for
// what became of them, and makes such signatures in the first place.
//
// It owns the wire format of the API's client side, when a call is repeated and how long to wait
// before that. It promises memory that does not grow with an upload, that no call is repeated if
// that could change its outcome, and that every refusal of the server is a *[Problem].
//
// # Uploading
//
// [Client.Upload] takes the pairs of a slice, [Client.UploadSeq] those of an iterator, and
// [Client.UploadBody] a ready-made JSON body. Each streams, and returns once the service has
// everything in its log. [Client.Wait] then polls until all pairs are processed; [Client.Batch]
// says what happened to each. [Client.Sign] and [Client.SignBatch] send one or some thousands of
// pairs and wait for the outcome within the call.
//
// # Checking
//
// [Client.Hash] says who signed a file, and [Client.Check] who signed each of any number of files.
//
// # Signing
//
// [HashFile], [LoadKey] and [SignHash] make a pair from a file and a certificate's private key, on
// this side only: the key stays where it is.
//
// # Repeating
//
// A call that the server refused for the time being (429, 503) is repeated after the time the
// server names, or after a growing one. A call whose outcome is not known, because the connection
// broke, is repeated only if repeating cannot change it: a status, a batch, and an upload, which
// carries an Idempotency-Key for that purpose. [WithRetry] changes all this.
//
// # Files
//
// client.go has the options; local.go hashes and signs; upload.go, sign.go, results.go and check.go are the calls, on call.go,
// which sends and repeats, body.go, which makes bodies as they are read, and problem.go, the server's refusals.
//
// It must not know Kafka, ClickHouse, records, certificates, signatures or the stages.
package client
