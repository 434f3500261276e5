// Package ingest is countersign's HTTP side: it takes uploads into the log, answers the polls about them, and serves the
// single and small-batch calls that wait for their result. The API is the contract's (contract/README.md, its table row by row).
//
// It promises: a 200 for an upload leaves only when the log holds every pair and its seal, flushed (I1); any other answer
// means that nothing of the upload will ever be kept, except where the answer says that this can't be known, and then
// it carries the upload's UUID (I2); memory, waits and open bodies have the bounds that [Config] states, and past them the
// caller hears so before its body is read (I6); no bytes make it panic or wait beyond a deadline (I7).
//
// It must not know how signatures are verified, which hash goes where, or how anything is stored: it writes records of topic
// uploads through [Log], reads results through [Store], and that is all it shares with the other stages.
//
// # Order of reading
//
// [Config] is the manual. http.go and route.go bring a request to its handler; body.go turns the connection into a bounded,
// timed stream; attempt.go takes that stream into the log; accept.go decides what it is called and when it counts as
// accepted; recorder.go, hub.go and await.go are what happens to it afterwards as far as a caller may ask. conn.go and
// tls.go are below HTTP; admin.go, metrics.go and web.go beside it.
package ingest
