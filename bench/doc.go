// Package bench measures a countersign service, and what it is compared with, side by side in one session.
//
// It owns the data (keys, certificates and signed pairs, made once and cached), the load generator, the runs of `openssl
// speed` and of Go's crypto that every figure stands beside, the statistics and the reports. It promises that nothing
// but the work in question is timed: signing and encoding happen before, and bodies go from the page cache to the
// socket. It promises too that a figure whose companion could not be measured is missing, not guessed, and that a run
// whose counts came back wrong is an error and no figure. It speaks to the service over HTTP; only the experiment large
// also puts rows into the service's ClickHouse beforehand (preload.go), and the experiment store reads the engine's own
// account of its work (store.go).
//
// Machines are noisy, so nothing is compared over time: the contestants alternate within a round, ratios are formed
// within a round, and what is reported is the median of the rounds with its spread.
//
// The experiment attack sends what the service has to refuse or to bear, from many addresses of loopback, and measures
// an honest user beside it. Its figures are bounds that hold or don't: only there, a result that is missing or late is
// a row of a table and no error.
//
// Files: config.go is what a session can be told, run.go is the session; pool.go, pair.go, body.go and algorithm.go
// make the data; server.go and process.go are the service that is measured, http.go the connections to it, upload.go,
// single.go, load.go and mixed.go what is sent; bare.go, contest.go and openssl.go are what stands beside; uploads.go,
// singles.go, memory.go, sustained.go, large.go with preload.go, store.go, and compare.go are the experiments; stats.go,
// report.go, table.go, markdown.go, html.go and svg.go are what comes out.
//
// Of the experiment attack: attack.go is its course, honest.go the honest user, attacksites.go the sites, attacker.go
// what all attacks have in common; attackuploads.go, bombs.go, slowkeys.go, randomreads.go and slowbodies.go are the
// attacks; attackbounds.go says what must hold and attackreport.go what was seen; descriptors.go asks the system for
// room.
//
// It must not know Kafka, records, certificates or the stages.
package bench
