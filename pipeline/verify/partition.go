package verify

// One assigned partition of topic uploads, from assignment to revocation. Three goroutines work on it, each with a
// struct of its own:
//
//   - the reader reads records in order, and starts a decider for each upload that is sealed;
//   - the announcer appends the deciders' decisions to the partition, where the reader meets them;
//   - the forwarder sends on the uploads whose decision the reader has met.
//
// Nobody waits for the reader. The reader waits only for workers and deciders, and these need nothing that is still to
// be read. So reading can't block itself.

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sync/errgroup"

	"countersign/internal/pause"
	"countersign/internal/queue"
	"countersign/pipeline/record"
)

// partition is what those goroutines share. Its fields don't change, and each is safe for concurrent use.
type partition struct {
	stage    *Stage
	log      Partition
	logger   *slog.Logger
	progress *progress
	group    *errgroup.Group // of all goroutines of the partition

	deciding      chan struct{}     // holds a token for every decider; capacity: Config.MaxDeciding
	announcements chan announcement // from deciders to the announcer; never closed; capacity: Config.MaxDeciding

	// decided goes from the reader to the forwarder. It has at most one item for each open seal in the log, and ingest
	// bounds those by its backlog limit. An item is a few hundred bytes beside what the memory limit counts.
	decided *queue.Queue[*upload]
}

// handle works on one partition until ctx ends, which is no error.
func (s *Stage) handle(ctx context.Context, assigned Partition) error {
	g, working := errgroup.WithContext(ctx)
	p := s.newPartition(assigned, g)
	reader := newReader(p)
	g.Go(func() error { return reader.run(working) })
	g.Go(func() error { return announcer{p}.run(working) })
	g.Go(func() error { return forwarder{p}.run(working) })
	err := g.Wait()
	reader.release()
	for _, u := range p.decided.Take() {
		u.release()
	}
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
		deciding:      make(chan struct{}, s.cfg.MaxDeciding),
		announcements: make(chan announcement, s.cfg.MaxDeciding),
		decided:       queue.New[*upload](),
	}
}

// deadLetter sends a note about a record that can't be used, and returns when the log has it.
func (p *partition) deadLetter(ctx context.Context, offset int64, reason error) error {
	return p.send(ctx, record.TopicDeadLetter, 0, record.DeadLetter(record.TopicUploads, p.log.ID(), offset, reason))
}

// send appends one record and waits for its acknowledgement. It tries until it succeeds: its only errors are ctx's.
func (p *partition) send(ctx context.Context, topic string, partition int, value []byte) error {
	for {
		ack, err := p.stage.cfg.Producer.Send(ctx, topic, partition, slices.Clone(value))
		if err == nil {
			_, err = ack.Wait(ctx)
		}
		if err == nil {
			return nil
		}
		if err := p.backOff(ctx, fmt.Errorf("appending to topic %s: %w", topic, err)); err != nil {
			return err
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
