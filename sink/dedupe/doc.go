// Package dedupe decides who owns a hash (invariant I4): the first claim to it in its shard's log, and nothing else.
//
// It owns three things for one shard: a Bloom filter of every hash the shard has, the rows it added lately, and the rule that
// turns a claim into added, replayed or duplicate. Most hashes are new, and for those the filter answers alone, from one
// cache line; those added lately are answered from memory; only the rest has to be looked up, in bulk, by the caller.
//
// It promises that the verdicts depend on the order of the claims alone: however a log is cut into runs, wherever rows are
// confirmed, and from whichever offset it is walked again over what had been stored by then (I5). A filter never says "not
// there" of a hash that was loaded or added; nobody who chooses hashes can make it say "maybe" more often than chance (I7).
//
// It does no I/O, starts no goroutine, and must not know ClickHouse, Kafka or records: what is stored comes in through Load
// and through the answers handed to Resolve.
//
// A Table's life, all in the goroutine of the shard it belongs to:
//
//	t := dedupe.New(dedupe.Config{ExpectedHashes: n, Key: key})
//	t.Load(stored)                    // at assignment, any number of times
//	for each run of claims, in log order {
//		ask = t.Probe(hashes, ask)        // all claims of the run
//		...                               // look ask up, seeing every insert that was confirmed before Probe
//		verdicts = t.Resolve(hashes, ...) // all claims of the run, in order
//		t.Confirm(n)                      // whenever the n oldest added rows turn out to be stored
//	}
package dedupe
