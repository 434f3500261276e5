// Package embedded is the log's broker inside the process, for a service without a Kafka cluster: franz-go's kfake
// with a data directory that survives crashes. It listens in memory: nobody but this process reaches it.
//
// It owns the data directory: its lock, kfake's files in it, and what is deleted from them. It is the only importer
// of kfake.
//
// It promises
//   - that a record which was acknowledged survives the process, and after [Broker.Flush] a power cut, too (I1);
//   - that a group's committed offset never lies beyond the records that are left, whatever the last stop was like;
//   - that a record is deleted only when every group of the topic has committed it, and it is older than its topic's
//     retention or the log is larger than it may be;
//   - that a failed fsync and a disk that has become read only are told ([Broker.Failed]), and a disk without room
//     ([Broker.Room]) before it is full;
//   - that no other user can read its files, and that a request of an impossible length or kind ends its connection and
//     nothing else (I7);
//   - that a data directory which cannot be read is left as it is, with an error that names it and says what to do;
//   - bounded memory (I6): while it loads, at most one segment of each partition; then 72 bytes for each record batch
//     on disk, of which there are at most [maxBatches] unless they are unprocessed.
//
// Its files, in the order in which a record passes them: embedded.go starts and stops the broker; restore.go prepares
// the data directory for kfake before that; memory.go connects clients; framed.go refuses what isn't Kafka's protocol;
// flush.go collects the callers who wait for the disk, and sync.go writes to it, with advise_*.go for the page cache;
// retention.go deletes old records, and admin.go asks the broker what it holds.
//
// It must not know ClickHouse, HTTP, records, certificates, signatures or the stages.
package embedded
