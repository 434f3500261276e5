package log

// Consuming as a group. kafka-go's ConsumerGroup joins, sends heartbeats and hands out generations. What happens
// within a generation is ours: a goroutine for each partition runs the handler, and the generation ends only when all
// handlers have returned and what they committed was sent. So two members never work on a partition at once, unless a
// handler outlasts rebalanceTimeout.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"countersign/internal/pause"
)

const (
	// A member that crashed is noticed after sessionTimeout, and the others learn of it with their next heartbeat:
	// its partitions move in about ten seconds. Brokers accept 6 s and more unless told otherwise.
	sessionTimeout    = 9 * time.Second
	heartbeatInterval = time.Second
	// rebalanceTimeout is how long the group waits for a member's handlers to return before it goes on without the
	// member.
	rebalanceTimeout = 60 * time.Second
	joinBackoff      = 250 * time.Millisecond // after a failed attempt to join
	commitInterval   = 100 * time.Millisecond
	leaveGrace       = 3 * time.Second // how long leaving may take when stopped
)

// handlerPause is the pause after a handler has ended for the n-th time, counted from 0, before it is started again.
func handlerPause(n int) time.Duration {
	return pause.Backoff{First: 100 * time.Millisecond, Most: 5 * time.Second}.After(n)
}

// GroupConfig says what to consume and who handles it.
type GroupConfig struct {
	Group, Topic string
	// Handle works on one assigned partition, on a goroutine of its own. ctx ends when the partition is revoked or
	// Consume's context ends. The rebalance waits for Handle to return, which should take seconds at most. If Handle
	// returns while ctx is alive, its error is logged, and after a pause it is called again, from the committed
	// offset; the other partitions don't notice. A partition for which the group has committed nothing starts at the
	// oldest record there is.
	Handle func(ctx context.Context, p *Partition) error
}

// Consume joins the group and runs Handle for each partition that is assigned to this member, through rebalances and
// failures of brokers, until ctx ends. Then it waits for the handlers, commits, leaves the group at once and returns
// nil. It returns an error only if cfg lacks something.
func (c *Client) Consume(ctx context.Context, cfg GroupConfig) error {
	if cfg.Group == "" || cfg.Topic == "" || cfg.Handle == nil {
		return errors.New("consume: group, topic and handler are required")
	}
	cfg.Group, cfg.Topic = c.onBroker(cfg.Group), c.onBroker(cfg.Topic)
	sockets := &socketSet{dial: c.dial}
	dialer := c.dialer()
	dialer.DialFunc = sockets.open
	m := &member{c: c, cfg: cfg, logger: c.logger.With("group", cfg.Group, "topic", cfg.Topic)}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: cfg.Group, Topics: []string{cfg.Topic}, Brokers: c.cfg.Brokers, Dialer: dialer,
		SessionTimeout: sessionTimeout, HeartbeatInterval: heartbeatInterval, RebalanceTimeout: rebalanceTimeout,
		JoinGroupBackoff: joinBackoff, StartOffset: kafka.FirstOffset,
	})
	if err != nil {
		return fmt.Errorf("consume topic %s as group %s: %w", cfg.Topic, cfg.Group, err)
	}
	for failures := 0; ctx.Err() == nil; {
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if failures++; failures%30 == 3 {
				m.logger.Warn("kafka: cannot join the group, trying again", "error", err)
			}
		default:
			failures = 0
			m.run(ctx, gen)
		}
	}
	m.running.Wait() // handlers finish and commit before the group is left
	leave(group, sockets)
	return nil
}

// leave closes the group. A broker that doesn't answer can't hold it up: its sockets are closed after a grace period.
func leave(group *kafka.ConsumerGroup, sockets *socketSet) {
	left := make(chan struct{})
	go func() {
		group.Close()
		close(left)
	}()
	for {
		select {
		case <-left:
			return
		case <-time.After(leaveGrace):
			sockets.closeAll()
		}
	}
}

// member is this process's part in a group.
type member struct {
	c       *Client
	cfg     GroupConfig // with names as the brokers know them
	logger  *slog.Logger
	running sync.WaitGroup // generations whose handlers have not all returned
}

// run starts a generation's handlers. kafka-go ends the generation when the function given to Start returns, and
// doesn't join the next one before it has.
func (m *member) run(ctx context.Context, gen *kafka.Generation) {
	m.running.Wait()
	m.running.Add(1)
	gen.Start(func(genCtx context.Context) {
		defer m.running.Done()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(genCtx, func() { cancel(ErrRevoked) })()
		m.runGeneration(ctx, gen)
	})
}

func (m *member) runGeneration(ctx context.Context, gen *kafka.Generation) {
	assigned := gen.Assignments[m.cfg.Topic]
	ids := make([]int, len(assigned))
	for i, a := range assigned {
		ids[i] = a.ID
	}
	m.logger.Info("kafka: partitions assigned", "generation", gen.ID, "partitions", ids)
	commits := newCommits(func(at map[int]progress) error {
		if err := m.c.flushBeforeCommit(); err != nil {
			return err
		}
		return m.c.commitOffsets(context.WithoutCancel(ctx), gen, m.cfg.Topic, at)
	})
	var handlers sync.WaitGroup
	for _, a := range assigned {
		handlers.Go(func() { m.runPartition(ctx, commits, a) })
	}
	ticker := time.NewTicker(commitInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			if err := commits.flush(); err != nil && ctx.Err() == nil {
				m.logger.Debug("kafka: commit failed, repeated later", "error", err)
			}
		}
	}
	handlers.Wait()
}

// flushBeforeCommit keeps the embedded broker's groups from getting ahead of its records. A commit says that what
// came of the records below it is stored, and what came of them is often a record elsewhere in the log. Everything
// that was acknowledged before Commit was called is on disk before the offset is written. So a power cut can set a
// group back, but not beyond what is left (I1).
func (c *Client) flushBeforeCommit() error {
	if c.cfg.Flush == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), idleLimit)
	defer cancel()
	return c.cfg.Flush(ctx)
}

// runPartition calls Handle until ctx ends, each time from the committed offset.
func (m *member) runPartition(ctx context.Context, commits *commits, a kafka.PartitionAssignment) {
	committed := a.Offset
	for failures := 0; ctx.Err() == nil; failures++ {
		if failures > 0 && pause.For(ctx, handlerPause(failures-1)) != nil {
			return
		}
		begun := time.Now()
		err := m.handle(ctx, commits, a.ID, &committed)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > time.Minute {
			failures = 0
		}
		m.logger.Error("kafka: handler ended, starting it again from the committed offset",
			"partition", a.ID, "offset", committed, "error", err)
	}
}

// handle runs Handle once. committed is where the group stands, negative if nothing is committed; handle moves it on.
func (m *member) handle(ctx context.Context, commits *commits, id int, committed *int64) error {
	r := &reader{c: m.c, topicPartition: topicPartition{m.cfg.Topic, id}}
	start, err := m.start(ctx, r, *committed)
	if err != nil {
		r.disconnect()
		return err
	}
	r.next = start
	p := &Partition{c: m.c, reader: r, start: start, commits: commits}
	defer p.close()
	commits.open(id, start)
	if *committed != start { // pin the group there, so that it has an offset before its first commit
		commits.pin(id, start)
	}
	err = m.cfg.Handle(ctx, p)
	if cerr := commits.close(id); cerr != nil {
		m.logger.Warn("kafka: last commit failed, records will be handled again", "partition", id, "error", cerr)
	}
	*committed = commits.position(id)
	return err
}

// start is where to begin: at the committed offset if the log has it, and at the log's first if nothing is committed,
// or if retention has deleted beyond the committed offset. If the log ends before the committed offset, a broker has
// lost acknowledged records (an unclean leader election), and the records that have taken their offsets since were
// never read: everything is read again, which changes nothing (I5).
func (m *member) start(ctx context.Context, r *reader, committed int64) (int64, error) {
	if committed < 0 {
		var err error
		if committed, err = m.askCommitted(ctx, r.partition); err != nil {
			return 0, err
		}
	}
	held, err := r.bounds(ctx)
	if err != nil {
		return 0, err
	}
	switch {
	case committed < 0:
		return held.first, nil
	case committed < held.first:
		m.logger.Error("kafka: retention deleted records before the group had committed them; "+
			"give the topic a longer retention", "partition", r.partition, "from", committed, "to", held.first)
		return held.first, nil
	case committed > held.end:
		m.logger.Error("kafka: the log ends before the committed offset, so brokers lost records; "+
			"reading all there is again", "partition", r.partition, "committed", committed, "to", held.end)
		return held.first, nil
	}
	return committed, nil
}

// askCommitted asks for the committed offset again, because kafka-go takes any error for "none".
func (m *member) askCommitted(ctx context.Context, partition int) (int64, error) {
	for attempt := 0; ; attempt++ {
		offsets, err := m.c.committed(ctx, m.cfg.Group, m.cfg.Topic, []int{partition})
		if err == nil {
			return offsets[partition].next, nil
		}
		if pause.For(ctx, retryPause(attempt)) != nil {
			return 0, fmt.Errorf("committed offset of group %s: %w", m.cfg.Group, err)
		}
	}
}

// socketSet is the latest sockets of one group, so that they can be closed together.
type socketSet struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	recent [4]net.Conn // kafka-go has two at most; guarded by mu
	opened int         // guarded by mu
}

func (s *socketSet) open(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := s.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent[s.opened%len(s.recent)] = nc
	s.opened++
	return nc, nil
}

func (s *socketSet) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nc := range s.recent {
		if nc != nil {
			nc.Close()
		}
	}
}
