// Package dedupe decides who owns a hash (I4): the first claim to it in the log of the hash's shard, and nothing else.
//
// It owns three things for one shard: a Bloom filter of every hash that the shard has; the rows that were added
// recently; and the rule that turns a claim into added, replayed or duplicate. Most hashes are new, and for those the
// filter answers alone, from one cache line. Hashes that were added recently are answered from memory. Only the rest
// has to be looked up, in bulk, by the caller.
//
// It promises
//   - Verdicts depend on the order of the claims alone. It doesn't matter how a log is cut into runs, when rows are
//     confirmed, or from which offset the log is walked again over what had been stored by then (I5).
//   - The filter never says "not there" of a hash that was loaded or added.
//   - Nobody who chooses hashes can make the filter say "maybe" more often than chance does (I7).
//   - It does no I/O and starts no goroutine. What is stored comes in through Load, and through the answers that are
//     handed to Resolve.
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
//	t.Forget()                        // when the shard is revoked; the table may be assigned again, with Load of what it missed
//
// Reading order, as a claim passes: table.go (the Table and the rule), mix.go (a hash becomes 128 bits that nobody can
// foresee), filter.go (may it be stored?), recent.go (the rows in memory).
//
// It must not know any other package of this module.
package dedupe
