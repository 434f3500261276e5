package log

// Questions that any broker can answer, and how long they are repeated. One broker of several may hang: it accepts
// connections and says nothing. kafka-go's Transport with several addresses takes one of them at random and waits. So
// each configured broker has a transport of its own here, and a question goes to the next broker when one has failed,
// or hasn't answered soon.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"countersign/internal/pause"
	"countersign/internal/startup"
)

const (
	// askNext is how long a broker has the question for itself before the next one is asked, too.
	askNext = 300 * time.Millisecond
	// askLimit bounds a question, all brokers together.
	askLimit = 5 * time.Second
)

// admins are kafka-go clients for questions, one for each configured broker.
type admins []*kafka.Client

func (c *Client) newAdmins() admins {
	all := make(admins, len(c.cfg.Brokers))
	for i := range all {
		all[i] = c.newAdmin(i, nil)
	}
	return all
}

// newAdmin makes a client that asks one broker where the others are. With topics it knows only of those.
func (c *Client) newAdmin(broker int, topics []string) *kafka.Client {
	return &kafka.Client{
		Addr: kafka.TCP(c.cfg.Brokers[broker]),
		Transport: &kafka.Transport{
			Dial: c.dial, DialTimeout: dialTimeout, ClientID: c.cfg.ClientID, TLS: c.cfg.TLS, SASL: c.sasl,
			MetadataTopics: topics,
		},
	}
}

func closeAdmin(a *kafka.Client) { a.Transport.(*kafka.Transport).CloseIdleConnections() }

// answer is what one broker said.
type answer[T any] struct {
	broker int
	value  T
	err    error
}

// askAny asks one configured broker after the other, beginning with the one that answered last, until one answers
// without an error. It doesn't wait for a broker longer than askNext before it asks the next one. ask must return when
// its context ends; more than one of its calls can have an effect.
func askAny[T any](ctx context.Context, c *Client, ask func(ctx context.Context, broker int) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	n, first := len(c.cfg.Brokers), int(c.preferred.Load())
	answers := make(chan answer[T], n)
	asked := 0
	next := func() {
		broker := (first + asked) % n
		asked++
		go func() {
			value, err := ask(ctx, broker)
			answers <- answer[T]{broker, value, err}
		}()
	}
	next()
	soon := time.NewTicker(askNext)
	defer soon.Stop()
	var failed []error
	for len(failed) < n {
		select {
		case a := <-answers:
			if a.err == nil {
				c.preferred.Store(int32(a.broker))
				return a.value, nil
			}
			failed = append(failed, fmt.Errorf("%s: %w", c.cfg.Brokers[a.broker], a.err))
			if asked < n && ctx.Err() == nil {
				next()
			}
		case <-soon.C:
			if asked < n {
				next()
			}
		case <-ctx.Done():
			var none T
			return none, errors.Join(append(failed, ctx.Err())...)
		}
		if asked == len(failed) && ctx.Err() != nil {
			break
		}
	}
	var none T
	return none, errors.Join(failed...)
}

// askAdmins is askAny for a question that kafka-go's client has a method for.
func askAdmins[T any](ctx context.Context, c *Client, ask func(context.Context, *kafka.Client) (T, error)) (T, error) {
	return askAny(ctx, c, func(ctx context.Context, broker int) (T, error) { return ask(ctx, c.admins[broker]) })
}

// whileRetriable repeats a call that a start needs until it succeeds, fails for good, ctx ends, or Config.StartTimeout
// is over. The wait is announced in the log.
func whileRetriable[T any](ctx context.Context, c *Client, what string,
	call func(context.Context) (T, error)) (value T, err error) {
	err = c.startWait(what).Do(ctx, func(ctx context.Context) error {
		value, err = call(ctx)
		return err
	})
	return value, err
}

func (c *Client) startWait(what string) startup.Wait {
	return startup.Wait{
		For: what, AtMost: c.cfg.StartTimeout, Logger: c.logger, Passing: retriable,
		Pause: func(ctx context.Context, n int) error { return pause.For(ctx, retryPause(n)) },
	}
}
