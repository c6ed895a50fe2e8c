package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
)

// ending is a pipe whose end the test decides: what head and tail receive they do and return.
type ending struct {
	pipe       *Pipe
	head, tail chan func() error
	cancel     context.CancelCauseFunc
}

// obeys is a module that shows its port and then does what it is told, or ends with the pipe.
func obeys(port chan<- *Port, told <-chan func() error) func(int) (Module, error) {
	return of(func(ctx context.Context, p *Port) error {
		port <- p
		select {
		case f := <-told:
			return f()
		case <-ctx.Done():
			return nil
		}
	})
}

// TestEveryWaitEnds has goroutines that are none of the modules' wait in the pipe, with contexts
// that never end, as handlers of a file system do. However the pipe ends, they learn of it.
func TestEveryWaitEnds(t *testing.T) {
	boom := errors.New("boom")
	fails := func() error { return boom }
	panics := func() error { panic(boom) }
	exits := func() error { runtime.Goexit(); return nil }
	finishes := func() error { return nil }
	for _, test := range []struct {
		name     string
		end      func(e ending)
		alloc    error // what those who allocate are told
		received error // what those who receive are told
	}{
		{"head fails", func(e ending) { e.head <- fails }, ErrStopped, ErrStopped},
		{"head panics", func(e ending) { e.head <- panics }, ErrStopped, ErrStopped},
		{"head exits", func(e ending) { e.head <- exits }, ErrStopped, ErrStopped},
		{"tail fails", func(e ending) { e.tail <- fails }, ErrStopped, ErrStopped},
		{"tail panics", func(e ending) { e.tail <- panics }, ErrStopped, ErrStopped},
		{"tail exits", func(e ending) { e.tail <- exits }, ErrStopped, ErrStopped},
		{"aborted", func(e ending) { e.pipe.Abort(boom) }, ErrStopped, ErrStopped},
		{"aborted without a cause", func(e ending) { e.pipe.Abort(nil) }, ErrStopped, ErrStopped},
		{"context ends", func(e ending) { e.cancel(boom) }, ErrStopped, ErrStopped},
		{"finished", func(e ending) { e.head <- finishes; synctest.Wait(); e.tail <- finishes }, ErrFinished, io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				heads, tails := make(chan *Port, 1), make(chan *Port, 1)
				e := ending{head: make(chan func() error), tail: make(chan func() error), cancel: cancel}
				var err error
				e.pipe, err = Start(ctx, Spec{Name: "p", Buffers: 2, Size: 1, Stages: []StageSpec{
					{Name: "head", Allocates: true, New: obeys(heads, e.head)},
					{Name: "tail", New: obeys(tails, e.tail)},
				}})
				if err != nil {
					t.Fatal(err)
				}
				head, tail := <-heads, <-tails
				endless := context.WithoutCancel(ctx)
				var held [2]*Buffer
				for i := range held {
					if held[i], err = head.AllocBuf(endless); err != nil {
						t.Fatal(err)
					}
				}
				const callers = 3
				alloc, received := make(chan error, callers), make(chan error, callers)
				for range callers {
					go func() { _, err := head.AllocBuf(endless); alloc <- err }()
					go func() { _, err := tail.ReceiveBuf(endless); received <- err }()
				}
				synctest.Wait()
				if s := e.pipe.Status(); s.Stages[0].Waiting != callers || len(received) != 0 {
					t.Errorf("before the end: %+v", s)
				}
				test.end(e)
				for range callers {
					if err := <-alloc; !errors.Is(err, test.alloc) {
						t.Errorf("AllocBuf: %v, want %v", err, test.alloc)
					}
					if err := <-received; !errors.Is(err, test.received) {
						t.Errorf("ReceiveBuf: %v, want %v", err, test.received)
					}
				}
				// The buffers in hand may be given back at any time before Close.
				if test.alloc == ErrStopped {
					head.SendBuf(held[0])
				} else {
					head.FreeBuf(held[0])
				}
				head.FreeBuf(held[1])
				if err := e.pipe.Wait(); (err == nil) != (test.alloc != ErrStopped) {
					t.Errorf("ended with %v", err)
				}
				if _, err := head.AllocBuf(endless); !errors.Is(err, test.alloc) {
					t.Errorf("AllocBuf after the end: %v, want %v", err, test.alloc)
				}
				if err := e.pipe.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSendAfterEnd: what a head's helper sends after its module has returned stops the pipe, and
// the buffer comes back.
func TestSendAfterEnd(t *testing.T) {
	heads, tails := make(chan *Port, 1), make(chan *Port, 1)
	told, never := make(chan func() error), make(chan func() error)
	p := start(t, 2,
		StageSpec{Name: "head", Allocates: true, New: obeys(heads, told)},
		StageSpec{Name: "tail", New: obeys(tails, never)})
	head, tail := <-heads, <-tails
	b, err := head.AllocBuf(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told <- func() error { return nil }
	if _, err := tail.ReceiveBuf(t.Context()); err != io.EOF {
		t.Fatalf("ReceiveBuf: %v", err)
	}
	head.SendBuf(b)
	if err := p.Wait(); !errors.Is(err, ErrMisuse) {
		t.Errorf("ended with %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestPortTells walks one buffer by hand, and sees what the ports say of it on the way.
func TestPortTells(t *testing.T) {
	p, err := newPipe(Spec{Name: "hand", Buffers: 4, Size: 100, Headroom: 10, Strict: true, Stages: []StageSpec{
		{Name: "head", Allocates: true, New: of(sends(0))},
		{Name: "tail", New: of(receives(frees))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Segment().Close()
	if s := p.Segment(); p.Name() != "hand" || s.Buffers() != 4 || s.Size() != 100 || s.Headroom() != 10 {
		t.Errorf("pipe %q with segment %+v", p.Name(), s)
	}
	head, tail := &Port{pipe: p, stage: p.stages[0]}, &Port{pipe: p, stage: p.stages[1], instance: 1}
	if head.Name() != "head" || head.Share() != 4 || tail.Name() != "tail" || tail.Share() != 0 || tail.Instance() != 1 {
		t.Errorf("head %s has share %d, tail %s/%d %d", head.Name(), head.Share(), tail.Name(), tail.Instance(), tail.Share())
	}
	queues := func(p *Port, wantIn, wantOut int) {
		t.Helper()
		if in, out, most := p.Queue(); in != wantIn || out != wantOut || most != 4 {
			t.Errorf("%s: queues %d, %d of %d, want %d, %d of 4", p.Name(), in, out, most, wantIn, wantOut)
		}
	}
	if _, err := tail.TryReceive(); err != ErrEmpty {
		t.Errorf("TryReceive of nothing: %v", err)
	}
	b, err := head.AllocBuf(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	queues(head, 3, 0)
	raw := b.Raw()
	if len(raw) != 110 || len(b.Data()) != 100 || &raw[10] != &b.Data()[0] {
		t.Errorf("%d bytes, of them %d data", len(raw), len(b.Data()))
	}
	head.SendBuf(b)
	queues(head, 3, 1)
	queues(tail, 1, 0)
	if got, err := tail.TryReceive(); got != b || err != nil {
		t.Errorf("TryReceive: %v, %v", got, err)
	}
	queues(tail, 0, 0)
	tail.FreeBuf(b)
	queues(head, 4, 0)
	if b.Raw() != nil || b.Data() != nil || !bytes.Equal(raw, bytes.Repeat([]byte{0xdb}, 110)) {
		t.Errorf("after the free: %x", raw)
	}
	p.stages[1].in.close()
	if _, err := tail.TryReceive(); err != io.EOF {
		t.Errorf("TryReceive at the end: %v", err)
	}
	if err := p.pool.audit(); err != nil {
		t.Error(err)
	}
}
