package log

// What can go wrong, and what a caller may conclude from it. Two questions matter: is trying again of any use
// (retriable), and can the record be in the log although an error came back (definite)? Both are answered here and
// nowhere else.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/segmentio/kafka-go"
)

var (
	// ErrUnavailable says that no broker could be reached, or that the one reached can't serve the partition now. The
	// caller's client should try again later (503).
	ErrUnavailable = errors.New("kafka is not available")
	// ErrFull says that the embedded broker refused the record because its disk is full. It has not stored the record.
	ErrFull = errors.New("the log's disk is full")
	// ErrOffsetGone says that records asked for are no longer, or not yet, in the partition's log.
	ErrOffsetGone = errors.New("offset is not in the log")
	// ErrClosed says that the producer or client was closed before the call.
	ErrClosed = errors.New("closed")
	// ErrTooLarge says that a value exceeds [MaxValueBytes] or the producer's queue.
	ErrTooLarge = errors.New("record too large")
	// ErrRevoked says that the partition isn't owned any more, so that nothing can be committed for it.
	ErrRevoked = errors.New("partition is no longer assigned")
)

// ProduceError is why a record was not acknowledged.
type ProduceError struct {
	Topic     string
	Partition int
	// Stored is true when an attempt's outcome is unknown: the log may hold the record, once or several times.
	Stored bool
	Err    error
}

func (e *ProduceError) Error() string {
	fate := "it was not stored"
	if e.Stored {
		fate = "it may have been stored"
	}
	return fmt.Sprintf("produce to topic %s partition %d (%s): %v", e.Topic, e.Partition, fate, e.Err)
}

func (e *ProduceError) Unwrap() error { return e.Err }

// MayBeStored reports whether a record whose Send or Wait failed with err can be in the log. It reports false only
// when the record cannot be there: it was never written to a connection, or each broker that got it refused it. It
// reports true for an error of unknown origin, and for a Wait whose context ended.
func MayBeStored(err error) bool {
	if err == nil {
		return true // acknowledged: it is stored
	}
	if pe, ok := errors.AsType[*ProduceError](err); ok {
		return pe.Stored
	}
	return true
}

// retriable says that the same request may succeed later, on this connection or on one to another broker.
func retriable(err error) bool {
	if ke, ok := errors.AsType[kafka.Error](err); ok {
		switch ke {
		case kafka.Unknown, // a broker's internal error, a full disk of the embedded one for instance
			kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable:
			return true
		}
		return ke.Temporary()
	}
	return connectionLost(err)
}

// connectionLost says that the failure is the network's or the peer's, not an answer.
func connectionLost(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	for _, target := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrNoProgress, io.ErrClosedPipe, net.ErrClosed, os.ErrDeadlineExceeded,
		context.DeadlineExceeded, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, ErrUnavailable,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// definite says that the broker answered, and that its answer means that it stored nothing.
func definite(err error) bool {
	if errors.Is(err, ErrFull) {
		return true
	}
	ke, ok := errors.AsType[kafka.Error](err)
	if !ok {
		return false
	}
	switch ke {
	case kafka.Unknown, kafka.RequestTimedOut, kafka.NotEnoughReplicasAfterAppend, kafka.NetworkException,
		kafka.KafkaStorageError:
		return false
	}
	return true
}

// markUnavailable wraps err so that errors.Is(err, ErrUnavailable) holds where waiting may help.
func markUnavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || !retriable(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
