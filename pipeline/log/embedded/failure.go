package embedded

// What the broker can't go on with, and what it can.
//
//   - A failed fsync is final. Linux drops what it could not write from then on, and the next fsync says that all is
//     well; so no later round can be believed. The broker says so once (Failed), refuses every flush, and the process
//     ends. Nothing that was acknowledged and flushed is lost, and the stages handle the rest again (I1, I5). An fsync
//     that fails because the disk is full is no exception: file systems that find out so late have dropped data.
//   - A write that fails with an I/O error or on a file system that has become read-only is final, too: it will not
//     heal by itself, and waiting callers would only time out. A small write every ten seconds finds it out.
//   - A write that fails because the disk is full, or a quota is, changes nothing: kfake cuts the segment back to where
//     it was, keeps its memory as it was, and refuses the batch. The broker goes on when there is room (room.go).
//   - A round of syncs that fails otherwise, for lack of file descriptors for instance, has dropped nothing. Its
//     callers are refused, and the next round is believed.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sys/unix"

	"countersign/internal/pause"
)

// errNotOnDisk marks a failed fsync.
var errNotOnDisk = errors.New("what was written may not be on the disk")

// failure is why the broker can't go on. It is safe for concurrent use.
type failure struct {
	once sync.Once
	done chan struct{} // closed by the first set
	err  error         // valid after done
}

func newFailure() *failure { return &failure{done: make(chan struct{})} }

func (f *failure) set(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

// get returns the failure, nil while there is none.
func (f *failure) get() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// Failed is closed when the broker can't go on, because the disk failed. Err then says which file and why, every Flush
// fails, and the process should end: only a new start knows what is on the disk.
func (b *Broker) Failed() <-chan struct{} { return b.failure.done }

// Err is why Failed was closed; nil while it isn't.
func (b *Broker) Err() error { return b.failure.get() }

// diskFull says that a write failed for want of room.
func diskFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// diskBroken says that a write failed in a way that doesn't heal.
func diskBroken(err error) bool { return errors.Is(err, unix.EIO) || errors.Is(err, unix.EROFS) }

// touchPeriod is how often something small is written, so that a disk that takes no writes any more is found out while
// nobody uploads.
const touchPeriod = 10 * time.Second

// watchDisk touches a file until ctx ends or that shows that the disk is broken.
func (b *Broker) watchDisk(ctx context.Context, path string, touch func(path string) error) {
	for pause.For(ctx, touchPeriod) == nil {
		if err := touch(path); diskBroken(err) {
			b.failure.set(fmt.Errorf("embedded broker: write to %s: %w; check the disk and restart", filepath.Dir(path), err))
			return
		}
	}
}

// touch writes a file's time.
func touch(path string) error { return os.Chtimes(path, time.Time{}, time.Now()) }

// brokerLogger is kfake's logger. kfake tells of failed writes nowhere else, so it also takes notice of them. It is
// called on kfake's goroutine, right after the write.
type brokerLogger struct {
	dir     string
	logger  *slog.Logger
	room    *room
	failure *failure
}

func (l brokerLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	}
	if level == kfake.LogLevelError || level == kfake.LogLevelWarn {
		if l.failedWrite(args) {
			to = slog.LevelDebug // it is told once, by room or by whoever waits for Failed
		}
	}
	if l.logger.Enabled(context.Background(), to) {
		l.logger.Log(context.Background(), to, "embedded broker: "+fmt.Sprintf(format, args...)) //nolint:sloglint // kfake's own words
	}
}

// failedWrite reports whether the message's arguments tell of a disk that is full or broken, and passes that on.
func (l brokerLogger) failedWrite(args []any) bool {
	for _, arg := range args {
		err, ok := arg.(error)
		switch {
		case !ok:
		case diskFull(err):
			l.room.writeFailed(err)
			l.mendGroups()
			return true
		case diskBroken(err):
			l.failure.set(fmt.Errorf("embedded broker: write to %s: %w; check the disk and restart", l.dir, err))
			return true
		}
	}
	return false
}

// mendGroups cuts off what a write that failed half way left of groups.log: kfake would append behind it, and read
// nothing of that after a kill.
func (l brokerLogger) mendGroups() {
	if err := mendGroupsLog(l.dir, l.logger); err != nil {
		l.failure.set(fmt.Errorf("embedded broker: mend groups.log in %s: %w; check the disk and restart", l.dir, err))
	}
}

// mendGroupsLog cuts groups.log after its last whole entry. An entry is the length of what follows the checksum (4
// bytes), CRC-32C of that (4), and version and JSON, little-endian.
func mendGroupsLog(dir string, logger *slog.Logger) error {
	const lengthAndSum = 8
	path := filepath.Join(dir, "groups.log")
	raw, err := os.ReadFile(path) // kfake keeps it near 10 MiB
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	whole := 0
	for len(raw)-whole >= lengthAndSum {
		length := int64(binary.LittleEndian.Uint32(raw[whole:]))
		end := int64(whole) + lengthAndSum + length
		if length < 2 || end > int64(len(raw)) {
			break
		}
		sum := crc32.Checksum(raw[whole+lengthAndSum:end], crc32.MakeTable(crc32.Castagnoli))
		if sum != binary.LittleEndian.Uint32(raw[whole+4:]) {
			break
		}
		whole = int(end)
	}
	if whole == len(raw) {
		return nil
	}
	logger.Warn("embedded broker: the last commit was written by half; it is cut off, and its records are handled again",
		"file", path, "bytes", len(raw)-whole)
	return os.Truncate(path, int64(whole))
}
