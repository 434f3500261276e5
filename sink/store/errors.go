package store

// Which errors another attempt can mend, and what a person can do about the others.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
)

// ErrUnavailable is in every error that another attempt can mend: the server is away, slow, overloaded, out of memory
// or behind on merges, or replicas are missing. The work may have been done all the same: inserts may be repeated (I5).
var ErrUnavailable = errors.New("ClickHouse is not available")

// wrap says what was being done, once, and marks what may be tried again. A nil err stays nil.
func (db *DB) wrap(ctx context.Context, err error, what string) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		// The driver closes the connection under the call, which then reports anything.
		return fmt.Errorf("clickhouse: %s: %w", what, context.Canceled)
	case unavailable(err) || ctx.Err() != nil:
		return fmt.Errorf("clickhouse: %s: %w (%s): %w", what, ErrUnavailable, db.where(), err)
	}
	return fmt.Errorf("clickhouse: %s: %w%s", what, err, remedy(err))
}

// unavailable decides which errors another attempt can mend.
func unavailable(err error) bool {
	if exception, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return passing(chproto.Error(exception.Code))
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, target := range []error{
		context.DeadlineExceeded, clickhouse.ErrAcquireConnTimeout, clickhouse.ErrConnectionClosed,
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// passing says which of ClickHouse's own errors go away by themselves or when someone frees memory, disk or a replica.
func passing(code chproto.Error) bool {
	switch code {
	case chproto.ErrTimeoutExceeded, chproto.ErrTooSlow, chproto.ErrSocketTimeout, chproto.ErrNetworkError,
		chproto.ErrAttemptToReadAfterEOF, chproto.ErrAllReplicasAreStale, // of another server of the cluster
		chproto.ErrTooManySimultaneousQueries, chproto.ErrNoFreeConnection, chproto.ErrAllConnectionTriesFailed,
		chproto.ErrMemoryLimitExceeded, chproto.ErrCannotAllocateMemory, chproto.ErrCannotScheduleTask,
		chproto.ErrTooManyParts, chproto.ErrNotEnoughSpace, chproto.ErrAborted, chproto.ErrQueryWasCancelled,
		chproto.ErrTableIsReadOnly, chproto.ErrTableIsBeingRestarted, chproto.ErrDeadlockAvoided,
		chproto.ErrNoZookeeper, chproto.ErrKeeperException, chproto.ErrTooFewLiveReplicas,
		chproto.ErrUnsatisfiedQuorumForPreviousWrite, chproto.ErrReplicaIsNotInQuorum, chproto.ErrUnknownStatusOfInsert:
		return true
	}
	return false
}

// remedy adds what to do about errors that a person has to mend.
func remedy(err error) string {
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) {
		return ""
	}
	switch chproto.Error(exception.Code) {
	case chproto.ErrUnknownDatabase:
		return "; create the database, or name an existing one in the ClickHouse URL"
	case chproto.ErrAuthenticationFailed, chproto.ErrUnknownUser, chproto.ErrWrongPassword:
		return "; check user and password in the ClickHouse URL"
	case chproto.ErrAccessDenied:
		return "; grant that to the user named in the ClickHouse URL"
	case chproto.ErrUnknownTable:
		return "; were the migrations run on this database?"
	}
	return ""
}

// hasCode says whether err is ClickHouse's own error of that code.
func hasCode(err error, code chproto.Error) bool {
	var exception *clickhouse.Exception
	return errors.As(err, &exception) && chproto.Error(exception.Code) == code
}
