// Package engine runs ClickHouse inside countersign: as a child process that lives exactly as long as its parent.
//
// It owns the child process, its directory, its port on loopback and what it prints. The child is either `clickhouse
// local` with a listener, or the same code as a library (libchdb.so) that a second countersign process loads. What is
// stored in that ClickHouse, and how, is the business of package store.
//
// It promises
//   - A row whose insert returned is on the disk, whichever process dies next, and however: the engine syncs each part
//     before an insert returns (I1).
//   - The child ends with its parent. In an orderly stop the parent closes the pipe that the child's query reads. When
//     the parent dies without a word, the kernel ends the child with a signal (on Linux).
//   - One directory serves one engine. Parent and child both hold the lock on DIR/engine.lock, and the kernel releases
//     it when the last of them is gone. So a successor waits for a child that is still ending.
//   - A child that dies is replaced, on the same port and data, unless several die within a minute.
//
// The listener speaks ClickHouse's native protocol without a password: whoever can open sockets on this machine can use
// it. clickhouse-local ends the whole process on a malformed handshake, and on a connection that is reset. Package
// store avoids both, and a stranger might not. A machine that is shared with strangers should have a ClickHouse of its
// own, which --clickhouse URL names.
//
// Reading order, as a start goes: engine.go (Start, the Engine and its end), lock.go (the directory), find.go (which
// program), config.go (the ClickHouse configuration), supervise.go (the child and its replacement), child.go (what the
// child does), log.go (what it prints), attributes_linux.go and attributes_other.go (what ties it to its parent).
//
// It must not know Kafka, HTTP, records or the stages.
package engine
