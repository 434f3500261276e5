// Package engine runs ClickHouse inside countersign: as a child process that lives exactly as long as its parent.
//
// It owns the child process, its directory, its network and users, and what it prints. The child is either `clickhouse
// local` with a listener, or the same code as a library (libchdb.so) that a second countersign process loads. What is
// stored in that ClickHouse, and how, is the business of package store.
//
// It promises
//   - A row whose insert returned is on the disk, whichever process dies next, and however: the engine syncs each part
//     before an insert returns (I1).
//   - The child ends with its parent. In an orderly stop the parent closes the pipe that the child's query reads. When
//     the parent dies without a word, the kernel ends the child with a signal (on Linux). A clickhouse binary ends in
//     the same way with the child that runs it.
//   - One directory serves one engine. Parent and child both hold the lock on DIR/engine.lock, and the kernel releases
//     it when the last of them is gone. So a successor waits for a child that is still ending.
//   - A child that dies is replaced, on the same data, for as long as a start succeeds now and then.
//   - The engine is nobody else's business. It listens in a network namespace of its own, and passes connections to
//     those who may open the Unix socket DIR/engine.sock, which is this user alone. A connection whose owner dies is
//     ended in order. The directory and all files in it are closed to other users.
//   - Who is connected may do what the user's grants say, and no SQL opens a file outside of DIR but for the system's
//     (on Linux with Landlock).
//   - The library is the one that was checked by its digest.
//
// Why so much care about who connects: the listener of clickhouse-local ends the whole process on a failed login, on a
// malformed handshake, and on a connection that is reset. Where the kernel makes no network namespaces, Start says so
// at WARN and goes on with a port on loopback. The passwords and grants hold there, too, and only the process's life is
// at the mercy of other users of the machine.
//
// Reading order, as a start goes: engine.go (Start, the Engine and its end), lock.go (the directory), find.go (which
// program), library.go (its digest), network.go (which network), config.go and users.go (the ClickHouse configuration),
// memory.go (how much memory), supervise.go (the child and its replacement), ends.go (what its end means),
// isolation_linux.go and isolation_other.go (what separates it), child.go (what the child does), listening.go (when it
// listens), log.go (what it prints). Directory enginetest helps tests to find the library.
//
// It must not know Kafka, HTTP, records or the stages.
package engine
