package results

// What polls and the page ask for: the memory of this process first, then ClickHouse.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"countersign/pipeline/record"
	"countersign/sink/store"
)

// ErrUnknownUpload says that there is no such upload, or that its results are no longer given out.
var ErrUnknownUpload = errors.New("unknown upload")

// Expect remembers an upload that is about to be sealed: from now on its events are counted. Its polls are answered,
// too, so Forget must follow if the upload is not accepted. complete is called once the events, or a poll, say that all
// of the upload is done; it must not wait, and may be nil.
func (t *Tracker) Expect(row store.Upload, complete func()) {
	u := remember(row, true)
	u.complete, u.asked = complete, time.Now() // ClickHouse has nothing of it yet
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

// Accepted returns an upload that was accepted, by this process or another one, and whether it is known. It is for
// those who accept uploads, doesn't wait behind questions of callers, and may not know an upload that was accepted a
// moment ago elsewhere. Errors are the store's.
func (t *Tracker) Accepted(ctx context.Context, upload uuid.UUID) (store.Upload, bool, error) {
	if row, ok := t.heardOf(upload); ok {
		return row, true, nil
	}
	return t.cfg.Store.Upload(ctx, upload)
}

// heardOf returns an accepted upload that this process knows without asking the store.
func (t *Tracker) heardOf(upload uuid.UUID) (store.Upload, bool) {
	if row, ok := t.recorder.get(upload); ok {
		return row, true
	}
	return t.accepted.Get(upload)
}

// Expired reports whether the results of an upload are no longer given out. acceptedAt is in Unix milliseconds.
func (t *Tracker) Expired(acceptedAt int64) bool {
	return t.cfg.Clock().Sub(time.UnixMilli(acceptedAt)) > t.cfg.Retention
}

// Status returns how far an upload is, and never less far than another process has told before the call. Errors are
// ErrUnknownUpload, ErrBusy, ErrNotCertain and the store's.
func (t *Tracker) Status(ctx context.Context, upload uuid.UUID) (Status, error) {
	u, err := t.lookUp(ctx, upload)
	if err != nil {
		return Status{}, err
	}
	s, asked := u.current()
	if s.Complete() || t.cfg.Alone && u.counted && t.Following() && time.Since(asked) < askAlone {
		return s, nil
	}
	if err := u.rest(ctx, asked); err != nil {
		return Status{}, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if s, _ = u.current(); s.Complete() {
		return s, nil
	}
	now := time.Now()
	progress, _, err := t.questions.progress.get(ctx, upload)
	if err != nil {
		return Status{}, err
	}
	u.answered(statusOf(progress, record.Batches(u.row.Count)), now)
	s, _ = u.current()
	return s, nil
}

// lookUp returns an upload whose results are given out.
func (t *Tracker) lookUp(ctx context.Context, upload uuid.UUID) (*remembered, error) {
	u, ok := t.uploads.Get(upload)
	if !ok {
		row, known, err := t.known(ctx, upload)
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

// known returns an accepted upload, and whether there is one. That there is none is only said when it is certain: the
// store says so after the stages have stored everything that was in the log when the caller asked. So an upload is
// found whoever accepted it and whatever events were missed, and one of which nobody could know whether it was accepted
// is either found or will never be.
func (t *Tracker) known(ctx context.Context, upload uuid.UUID) (row store.Upload, known bool, err error) {
	if row, known, err = t.knownSoFar(ctx, upload); known || err != nil {
		return row, known, err
	}
	if err := t.settled(ctx); err != nil {
		return row, false, err
	}
	return t.knownSoFar(ctx, upload)
}

func (t *Tracker) knownSoFar(ctx context.Context, upload uuid.UUID) (row store.Upload, known bool, err error) {
	if row, ok := t.heardOf(upload); ok {
		return row, true, nil
	}
	return t.questions.uploads.get(ctx, upload)
}

// Batch returns what became of the pairs of a batch, and whether anything is known of it. Errors are ErrBusy and the
// store's.
func (t *Tracker) Batch(ctx context.Context, upload uuid.UUID, batch uint32) (store.BatchResult, bool, error) {
	return t.questions.batches.get(ctx, batchKey{upload, batch})
}

// Certificate returns the chain whose leaf has this SHA-256, and whether it was ever seen. Errors are ErrBusy and the
// store's.
func (t *Tracker) Certificate(ctx context.Context, fingerprint [32]byte) (store.Certificate, bool, error) {
	return t.questions.certificates.get(ctx, fingerprint)
}

// CoSigners returns which sites beside the owner's signed a hash. Errors are ErrBusy and the store's.
func (t *Tracker) CoSigners(ctx context.Context, hash [32]byte) (store.CoSigners, error) {
	also, _, err := t.questions.coSigners.get(ctx, hash)
	return also, err
}

// SignedHash returns who signed a hash, and whether anybody has. It knows a single signing as soon as the caller of
// that signing has its answer, from whichever process, although the row may not be stored yet. Rows that were announced
// before this process followed the events are only in the store, or will be: so after each beginning nobody is told
// that a hash is unknown before the stages have settled once. Errors are ErrBusy, ErrNotCertain and the store's.
func (t *Tracker) SignedHash(ctx context.Context, hash [32]byte) (store.SignedHash, bool, error) {
	if row, ok := t.announced.get(hash); ok {
		return row, true, nil
	}
	row, found, err := t.questions.hashes.get(ctx, hash)
	if found || err != nil {
		return row, found, err
	}
	if followed := t.followed.Load(); followed != t.settledIn.Load() {
		if err := t.settled(ctx); err != nil {
			return row, false, err
		}
		t.settledIn.Store(followed)
		if row, found, err = t.questions.hashes.get(ctx, hash); found || err != nil {
			return row, found, err
		}
	}
	if err := t.caughtUp(ctx); err != nil {
		return row, false, err
	}
	row, found = t.announced.get(hash)
	return row, found, nil
}
