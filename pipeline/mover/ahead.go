package mover

import (
	"context"
	"iter"
	"sync"

	"coffer/chunkfmt"
)

// readAhead is how many tags are read, opened and decompressed ahead of who takes them in, some 2.5 MiB
// each. Servers answer several requests sooner than one after the other.
const readAhead = 6

// inOrder gives what do returns for 0 to n−1, in order, several of them being done ahead. It ends
// when all that it has begun has ended.
func inOrder[T any](ctx context.Context, n int, do func(ctx context.Context, i int) (T, error)) iter.Seq2[T, error] {
	type result struct {
		v   T
		err error
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel()
		width := min(n, readAhead)
		results := make([]chan result, width)
		begin := func(i int) {
			if i >= n {
				return
			}
			done := results[i%width]
			group.Go(func() {
				v, err := do(ctx, i)
				done <- result{v, err}
			})
		}
		for i := range width {
			results[i] = make(chan result, 1)
			begin(i)
		}
		for i := range n {
			r := <-results[i%width]
			begin(i + width)
			if !yield(r.v, r.err) {
				return
			}
		}
	}
}

// batchesAhead are the payloads of a chunk's batches, read ahead of who takes them in.
type batchesAhead struct {
	at   []int // which of the chunk's tags they are, of those that next has not given
	next func() ([]byte, error, bool)
	stop func() // to be called
}

func (r *replayer) readAhead(
	ctx context.Context, s *session, c chunk, entries []chunkfmt.Entry, w *window,
) *batchesAhead {
	var at []int
	for i, e := range entries {
		seq := e.Tag.Seq
		void := w.last != 0 && seq > w.last
		if e.Tag.Kind == chunkfmt.KindBatch && seq >= r.next && seq.Ordinal() == s.ordinal && !void {
			at = append(at, i)
		}
	}
	next, stop := iter.Pull2(inOrder(ctx, len(at), func(ctx context.Context, k int) ([]byte, error) {
		return r.open(ctx, s.sealer, c.name, entries[at[k]])
	}))
	return &batchesAhead{at: at, next: next, stop: stop}
}

// payload gives that of tag i, passing over those before it.
func (b *batchesAhead) payload(i int) ([]byte, error) {
	for len(b.at) > 0 {
		at := b.at[0]
		b.at = b.at[1:]
		if payload, err, _ := b.next(); at == i {
			return payload, err
		}
	}
	return nil, errNotThere
}
