// Package results knows what became of uploads, as far as callers may ask: how far an upload is, what a call that waits
// is waiting for, and who signed a hash a moment ago.
//
// It owns what an ingest process remembers between requests: the uploads that polls may ask for, the watches of
// synchronous calls, the rows of table uploads that are not stored yet, the single signings that were announced
// before they are stored, and the uploads that any process has accepted a moment ago. All of it comes from topic events
// and from ClickHouse, and none of it is needed again after a restart.
//
// It promises that a status only grows and is at most a second old; that what another process has told a caller is not
// denied here: a hash that was answered "signed OK" is found, a batch that is done is done, and an accepted upload is
// known; that an upload is called unknown only when it is certain that nobody has accepted it; that thousands who ask
// at once cost a few queries, and more than that are refused; and that everything it remembers is bounded (I6), given
// that its caller bounds the uploads that wait for their row.
//
// # Order of reading
//
// tracker.go puts the parts together: a record of topic events comes in there. status.go and tally.go say when a batch
// is done. From them follow remembered.go, which is for polls, and watch.go and wait.go, which are for calls that wait.
// announced.go keeps single signings, recorder.go stores rows. lookup.go is what the handlers ask, and questions.go how
// it is asked of the store and the log. metrics.go is for operators.
//
// It must not know HTTP, Kafka, JSON, certificates or signatures.
package results
