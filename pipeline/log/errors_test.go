package log

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/segmentio/kafka-go"
)

func TestMayBeStored(t *testing.T) {
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	_, waitErr := (&sentRecord{done: make(chan struct{})}).Wait(cut)
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{waitErr, true},
		{errors.New("whatever"), true},
		{&ProduceError{Stored: true, Err: kafka.RequestTimedOut}, true},
		{fmt.Errorf("upload: %w", &ProduceError{Err: kafka.MessageSizeTooLarge}), false},
	} {
		if got := MayBeStored(tc.err); got != tc.want {
			t.Errorf("MayBeStored(%v) = %v", tc.err, got)
		}
	}
	for err, want := range map[error]bool{
		kafka.NotLeaderForPartition: true, kafka.NotEnoughReplicas: true, kafka.MessageSizeTooLarge: true,
		kafka.TopicAuthorizationFailed: true, kafka.NotEnoughReplicasAfterAppend: false, kafka.RequestTimedOut: false,
		kafka.Unknown: false, net.ErrClosed: false, fmt.Errorf("%w: %w", ErrFull, kafka.Unknown): true,
	} {
		if got := definite(err); got != want {
			t.Errorf("definite(%v) = %v", err, got)
		}
	}
	for err, want := range map[error]bool{
		kafka.NotLeaderForPartition: true, kafka.NotEnoughReplicas: true, kafka.NotEnoughReplicasAfterAppend: true,
		kafka.Unknown: true, net.ErrClosed: true, context.DeadlineExceeded: true, kafka.MessageSizeTooLarge: false,
		kafka.TopicAuthorizationFailed: false,
	} {
		if got := retriable(err); got != want {
			t.Errorf("retriable(%v) = %v", err, got)
		}
	}
}
