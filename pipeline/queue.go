package pipeline

import (
	"container/list"
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// queue lies between two stages. It has room for every buffer of the pipe, so sending never waits.
type queue struct {
	reader *stage
	enter  *bracket // numbers what is received; nil if the reader does not begin a bracket
	leave  *bracket // orders what is sent; nil if the writer does not end a bracket
	depth  atomic.Int32

	mu      sync.Mutex // guards what follows; the pool's lock may be taken after it
	ring    []*Buffer
	first   int
	waiters list.List // of chan grant, in order of arrival
	closed  bool      // nothing more will be sent
	stopped error     // why nothing more is received
}

func newQueue(reader *stage, buffers int) *queue {
	return &queue{reader: reader, ring: make([]*Buffer, buffers)}
}

// send passes b on, or settles its number. It fails when the queue was stopped or closed, and then
// b is still the caller's.
func (q *queue) send(b *Buffer) error { return q.settle(b.Seq, b) }

// skip settles a number for which nothing is sent.
func (q *queue) skip(seq uint64) error { return q.settle(seq, nil) }

func (q *queue) settle(seq uint64, b *Buffer) error {
	q.mu.Lock()
	if q.stopped != nil || q.closed {
		err := q.stopped
		q.mu.Unlock()
		if err == nil {
			err = ErrFinished
		}
		return err
	}
	if q.leave != nil {
		q.leave.settle(seq, b, q.push)
	} else {
		q.push(b)
	}
	q.serve()
	q.mu.Unlock()
	if q.leave != nil {
		q.leave.entry.reopen()
	}
	return nil
}

// reopen serves those whom the bracket's window made wait.
func (q *queue) reopen() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.serve()
}

// receive takes the first buffer, waiting for one.
func (q *queue) receive(ctx context.Context) (*Buffer, error) {
	q.mu.Lock()
	b, err := q.poll()
	if err != ErrEmpty {
		q.mu.Unlock()
		return b, err
	}
	e := q.waiters.PushBack(make(chan grant, 1))
	q.mu.Unlock()
	g := await(ctx, &q.mu, &q.waiters, e)
	return g.b, g.err
}

func (q *queue) tryReceive() (*Buffer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.poll()
}

// poll takes the first buffer if there is one and nobody came before.
func (q *queue) poll() (*Buffer, error) {
	switch {
	case q.stopped != nil:
		return nil, q.stopped
	case q.waiters.Len() == 0 && q.ready():
		return q.pop(), nil
	case q.ended():
		return nil, io.EOF
	}
	return nil, ErrEmpty
}

// serve gives to those who wait what there is, or the end.
func (q *queue) serve() {
	for q.waiters.Len() > 0 && q.ready() {
		answer(&q.waiters, grant{b: q.pop()})
	}
	for q.waiters.Len() > 0 && q.ended() {
		answer(&q.waiters, grant{err: io.EOF})
	}
}

func (q *queue) ready() bool { return q.depth.Load() > 0 && (q.enter == nil || q.enter.open()) }

func (q *queue) ended() bool { return q.closed && q.depth.Load() == 0 }

func (q *queue) push(b *Buffer) {
	q.ring[(q.first+int(q.depth.Load()))%len(q.ring)] = b
	q.depth.Add(1)
}

func (q *queue) take() *Buffer {
	b := q.ring[q.first]
	q.ring[q.first] = nil
	q.first = (q.first + 1) % len(q.ring)
	q.depth.Add(-1)
	return b
}

func (q *queue) pop() *Buffer {
	b := q.take()
	if q.enter != nil {
		q.enter.stamp(b)
	}
	b.holder.Store(q.reader)
	b.state.Store(stateHeld)
	q.reader.held.Add(1)
	q.reader.received.Add(1)
	q.reader.bytesIn.Add(uint64(b.Length))
	return b
}

// close is called when all instances that send have returned.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.serve()
}

// drained says whether all was sent and received that ever will be.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended()
}

// stop ends all waits with err and hands what is queued to reclaim, under the queue's lock.
func (q *queue) stop(err error, reclaim func(*Buffer)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = err
	for q.depth.Load() > 0 {
		reclaim(q.take())
	}
	if q.leave != nil {
		q.leave.drop(reclaim)
	}
	for q.waiters.Len() > 0 {
		answer(&q.waiters, grant{err: err})
	}
}

// resequencing is how many buffers wait for one with a lower number.
func (q *queue) resequencing() int {
	if q.leave == nil {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.leave.waiting()
}
