package verify

// One assigned partition of topic uploads, from assignment to revocation. Four goroutines work on it, each with a
// struct of its own:
//
//   - the reader reads records in order, and hands uploads that are sealed to the coordinator;
//   - the coordinator brings each upload to its decision, and to its verdicts under the decision that was read;
//   - the announcer appends the coordinator's decisions to the partition, where the reader meets them;
//   - the forwarder sends on the uploads that have their verdicts.
//
// They hand uploads on through queues without a bound of their own, and none waits for the next one. An upload is a few
// hundred bytes beside what the memory limit counts, and ingest bounds the uploads that are open by its backlog limit.

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"countersign/internal/pause"
	"countersign/internal/queue"
	"countersign/pipeline/record"
)

// partition is what those goroutines share. Its fields don't change, except for those under mu, and each is safe for
// concurrent use.
type partition struct {
	stage    *Stage
	log      Partition
	logger   *slog.Logger
	progress *progress
	group    *errgroup.Group // of all goroutines of the partition

	inbox         *inbox                     // of the coordinator
	announcements *queue.Queue[announcement] // from the coordinator to the announcer
	decided       *queue.Queue[*upload]      // from the coordinator to the forwarder
	reading       *gate                      // of uploads that are read again

	mu   sync.Mutex
	open map[*upload]struct{} // sealed and not forwarded; guarded by mu
	read int64                // bytes of records that were read; guarded by mu
}

// handle works on one partition until ctx ends, which is no error.
func (s *Stage) handle(ctx context.Context, assigned Partition) error {
	g, working := errgroup.WithContext(ctx)
	p := s.newPartition(assigned, g)
	reader := newReader(p)
	g.Go(func() error { return reader.run(working) })
	g.Go(func() error { return newCoordinator(p).run(working) })
	g.Go(func() error { return newAnnouncer(p).run(working) })
	g.Go(func() error { return forwarder{p}.run(working) })
	err := g.Wait()
	p.reading.close()
	reader.release()
	p.release()
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *Stage) newPartition(assigned Partition, group *errgroup.Group) *partition {
	return &partition{
		stage:         s,
		log:           assigned,
		logger:        s.cfg.Logger.With("topic", record.TopicUploads, "partition", assigned.ID()),
		progress:      newProgress(assigned.Start()),
		group:         group,
		inbox:         queue.New[func(*coordinator)](),
		announcements: queue.New[announcement](),
		decided:       queue.New[*upload](),
		reading:       new(gate),
		open:          make(map[*upload]struct{}),
	}
}

// countRead notes that a record of so many bytes was read.
func (p *partition) countRead(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read += int64(bytes)
}

// bytesRead is how many bytes of records were read.
func (p *partition) bytesRead() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read
}

// doneCommitter is a Partition that can also tell how many records at or beyond the committed offset are done.
type doneCommitter interface {
	CommitDone(next, doneBeyond int64)
}

// commit commits how far the partition is done.
func (p *partition) commit() {
	next, done := p.progress.committable()
	if c, ok := p.log.(doneCommitter); ok {
		c.CommitDone(next, done)
		return
	}
	p.log.Commit(next)
}

// register notes an upload that must be forwarded.
func (p *partition) register(u *upload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[u] = struct{}{}
}

// finish notes that an upload was forwarded, and gives its memory back.
func (p *partition) finish(u *upload) {
	p.mu.Lock()
	delete(p.open, u)
	p.mu.Unlock()
	p.progress.finish(u.offset)
	u.release()
}

// release gives the memory of all uploads back that are not forwarded. All goroutines of the partition have ended.
func (p *partition) release() {
	for u := range p.open {
		if u.undecided {
			p.stage.metrics.undecided.Dec()
		}
		if u.verification != nil {
			u.verification.cancelled.Store(true)
		}
		u.release()
	}
}

// deadLetter sends a note about a record that can't be used, and returns when the log has it.
func (p *partition) deadLetter(ctx context.Context, offset int64, reason error) error {
	_, err := p.send(ctx, record.TopicDeadLetter, 0, record.DeadLetter(record.TopicUploads, p.log.ID(), offset, reason))
	return err
}

// send appends one record, waits for its acknowledgement, and returns its offset. It tries until it succeeds: its only
// errors are ctx's.
func (p *partition) send(ctx context.Context, topic string, partition int, value []byte) (offset int64, err error) {
	for {
		ack, err := p.stage.cfg.Producer.Send(ctx, topic, partition, slices.Clone(value))
		if err == nil {
			offset, err = ack.Wait(ctx)
		}
		if err == nil {
			return offset, nil
		}
		if err := p.backOff(ctx, fmt.Errorf("appending to topic %s: %w", topic, err)); err != nil {
			return 0, err
		}
	}
}

// backOff logs why something has to be tried again, and waits a little. Its only errors are ctx's.
func (p *partition) backOff(ctx context.Context, why error) error {
	if ctx.Err() == nil {
		p.logger.Warn("something that an upload waits for failed; trying again", "error", why)
	}
	return pause.For(ctx, p.stage.cfg.Backoff)
}
