package shopify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/lockstephq/lockstep"
)

const (
	maxLine     = 1 << 20     // bytes of a line; 250 tags of 255 characters are a quarter of it
	stallTime   = time.Minute // without a line
	fetchTries  = 6           // in a row without a line
	fetchPause  = 200 * time.Millisecond
	fetchPauses = 10 * time.Second // at most
)

// ErrExpired is a result that is no longer there: Shopify keeps it for seven
// days.
var ErrExpired = errors.New("the result of the bulk operation is no longer there")

// line is one line of a result.
type line struct {
	text []byte // until the next one
	end  int64  // where the next one begins, in bytes
}

// lines yields a file's lines from a byte on, which is the beginning of one. A
// connection that breaks, or stalls, is made anew from the last line on; the file
// is never in memory.
func (t *Target) lines(ctx context.Context, address string, from, size int64) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		at, failures := from, 0
		for {
			before := at
			err := t.readLines(ctx, address, at, size, func(l line) bool {
				at = l.end
				return yield(l, nil)
			})
			switch {
			case errors.Is(err, errStopped):
				return
			case err == nil && at >= size:
				return
			case err == nil:
				err = t.ops["bulk_read"].failf(lockstep.ErrTransient, "the result ends early")
			}
			if failures++; at > before {
				failures = 1
			}
			lasting := errors.Is(err, ErrExpired) || lockstep.KindOf(err) == lockstep.ErrInvalid
			if lasting || failures >= fetchTries || sleep(ctx, min(fetchPause<<failures, fetchPauses)) != nil {
				yield(line{}, err)
				return
			}
		}
	}
}

var errStopped = errors.New("the caller has enough")

// readLines reads over one connection.
func (t *Target) readLines(ctx context.Context, address string, from, size int64, yield func(line) bool) error {
	op := t.ops["bulk_read"]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stall := time.AfterFunc(stallTime, cancel)
	defer stall.Stop()
	body, err := t.open(ctx, address, from)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // read to its end, or of no use
	r := bufio.NewReaderSize(body, maxLine)
	for at := from; ; {
		text, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(text) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return op.failf(lockstep.ErrInvalid, "a line is longer than %d bytes", maxLine)
		case err != nil && (!errors.Is(err, io.EOF) || at+int64(len(text)) < size): // what came of a line is read again
			return op.failf(lockstep.ErrTransient, "the result broke off")
		}
		stall.Reset(stallTime)
		if at += int64(len(text)); !yield(line{text, at}) {
			return errStopped
		}
	}
}

// open asks for the file from a byte on. A server that knows no ranges sends it
// all.
func (t *Target) open(ctx context.Context, address string, from int64) (io.ReadCloser, error) {
	op, header := t.ops["bulk_read"], http.Header{}
	if from > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	res, err := t.fetch(ctx, op, http.MethodGet, address, header, nil)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusPartialContent:
		return res.Body, nil
	case http.StatusOK:
		if _, err := io.CopyN(io.Discard, res.Body, from); err == nil {
			return res.Body, nil
		}
		err = op.failf(lockstep.ErrTransient, "the result broke off")
	case http.StatusRequestedRangeNotSatisfiable: // it was read to its end
		_ = res.Body.Close()
		return http.NoBody, nil
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusBadRequest:
		err = fmt.Errorf("%w (%d)", ErrExpired, res.StatusCode)
	default:
		err = op.failf(lockstep.ErrTransient, "the result was answered with status %d", res.StatusCode)
	}
	_ = res.Body.Close() // of no use
	return nil, err
}
