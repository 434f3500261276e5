package results

// What polls and the page ask for: the memory of this process first, then ClickHouse.

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"countersign/sink/store"
)

// ErrUnknownUpload says that there is no such upload, or that its results are no longer given out.
var ErrUnknownUpload = errors.New("unknown upload")

// Expect remembers an upload that is about to be sealed: from now on its events are counted. Its polls are answered,
// too, so Forget must follow if the upload is not accepted. complete is called once the events, or a poll, say that all
// of the upload is done; it must not wait, and may be nil.
func (t *Tracker) Expect(row store.Upload, complete func()) {
	u := remember(row, true)
	u.complete = complete
	t.uploads.Put(row.ID, u)
	u.advance(u.status)
}

// Forget undoes Expect.
func (t *Tracker) Forget(upload uuid.UUID) { t.uploads.Delete(upload) }

// Record has the row of an accepted upload stored. The channel is closed once that has happened. Until then Accepted
// and Status know the upload in this process.
func (t *Tracker) Record(row store.Upload) (stored <-chan struct{}) { return t.recorder.add(row) }

// Unrecorded is how many accepted uploads wait for their row.
func (t *Tracker) Unrecorded() int { return t.recorder.size() }

// Accepted returns an upload that was accepted, by this process or another one, and whether it is known. Errors are the
// store's.
func (t *Tracker) Accepted(ctx context.Context, upload uuid.UUID) (store.Upload, bool, error) {
	if row, ok := t.recorder.get(upload); ok {
		return row, true, nil
	}
	return t.cfg.Store.Upload(ctx, upload)
}

// Expired reports whether the results of an upload are no longer given out. acceptedAt is in Unix milliseconds.
func (t *Tracker) Expired(acceptedAt int64) bool {
	return t.cfg.Clock().Sub(time.UnixMilli(acceptedAt)) > t.cfg.Retention
}

// Status returns how far an upload is, at most a second late. Errors are ErrUnknownUpload and the store's.
func (t *Tracker) Status(ctx context.Context, upload uuid.UUID) (Status, error) {
	u, err := t.lookUp(ctx, upload)
	if err != nil {
		return Status{}, err
	}
	now := time.Now()
	s, upToDate := u.current(now)
	if upToDate {
		return s, nil
	}
	progress, err := t.cfg.Store.Progress(ctx, upload)
	if err != nil {
		return Status{}, err
	}
	u.answered(statusOf(progress, s.Waiting+s.Done), now)
	s, _ = u.current(now)
	return s, nil
}

// lookUp returns an upload whose results are given out.
func (t *Tracker) lookUp(ctx context.Context, upload uuid.UUID) (*remembered, error) {
	u, ok := t.uploads.Get(upload)
	if !ok {
		row, known, err := t.Accepted(ctx, upload)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, ErrUnknownUpload
		}
		u = remember(row, false)
		t.uploads.Put(upload, u)
	}
	if t.Expired(u.row.AcceptedAt) {
		return nil, ErrUnknownUpload
	}
	return u, nil
}

// SignedHash returns who signed a hash, and whether anybody has. It knows a single signing as soon as the caller of
// that signing has its answer, although the row may not be stored yet. Errors are the store's.
func (t *Tracker) SignedHash(ctx context.Context, hash [32]byte) (store.SignedHash, bool, error) {
	if row, ok := t.announced.Get(hash); ok {
		return row, true, nil
	}
	return t.cfg.Store.Hash(ctx, hash)
}
