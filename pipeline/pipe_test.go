package pipeline

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// moduleFunc is a module that is one function.
type moduleFunc func(ctx context.Context, p *Port) error

func (f moduleFunc) Run(ctx context.Context, p *Port) error { return f(ctx, p) }

// of makes the instances of a stage from one function.
func of(f moduleFunc) func(int) (Module, error) {
	return func(int) (Module, error) { return f, nil }
}

// sends is a head that sends n buffers, Length counting from 1.
func sends(n int) moduleFunc {
	return func(ctx context.Context, p *Port) error {
		for i := range n {
			b, err := p.AllocBuf(ctx)
			if err != nil {
				return err
			}
			b.Length = i + 1
			p.SendBuf(b)
		}
		return nil
	}
}

// receives is a stage that hands what it receives to f.
func receives(f func(p *Port, b *Buffer) error) moduleFunc {
	return func(ctx context.Context, p *Port) error {
		for {
			b, err := p.ReceiveBuf(ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := f(p, b); err != nil {
				return err
			}
		}
	}
}

func frees(p *Port, b *Buffer) error { p.FreeBuf(b); return nil }

func passes(p *Port, b *Buffer) error { p.SendBuf(b); return nil }

func start(t *testing.T, buffers int, stages ...StageSpec) *Pipe {
	t.Helper()
	p, err := Start(t.Context(), Spec{Name: t.Name(), Buffers: buffers, Size: 100, Headroom: 10, Stages: stages})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCleanEnd(t *testing.T) {
	var got []int
	p := start(t, 4,
		StageSpec{Name: "head", Allocates: true, New: of(sends(10))},
		StageSpec{Name: "middle", Instances: 3, Ordered: true, New: of(receives(passes))},
		StageSpec{Name: "tail", New: of(receives(func(p *Port, b *Buffer) error {
			got = append(got, b.Length)
			return frees(p, b)
		}))},
	)
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(got, want) {
		t.Errorf("tail received %v, want %v", got, want)
	}
	p.Abort(errors.New("too late"))
	if err := errors.Join(p.Err(), p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	s := p.Status()
	if s.Running || s.Error != "" || s.Free != 4 {
		t.Errorf("status %+v", s)
	}
	for i, want := range []StageStatus{
		{Name: "head", Instances: 1, Share: 4, Sent: 10, BytesOut: 55},
		{Name: "middle", Instances: 3, Received: 10, Sent: 10, BytesIn: 55, BytesOut: 55},
		{Name: "tail", Instances: 1, Received: 10, BytesIn: 55},
	} {
		if s.Stages[i] != want {
			t.Errorf("stage %d: %+v, want %+v", i, s.Stages[i], want)
		}
	}
}

func TestAbnormalEnd(t *testing.T) {
	boom := errors.New("boom")
	for _, test := range []struct {
		name  string
		does  moduleFunc
		stack bool
	}{
		{"error", func(context.Context, *Port) error { return boom }, false},
		{"panic", func(context.Context, *Port) error { panic(boom) }, true},
		{"panic with a string", func(context.Context, *Port) error { panic("boom") }, true},
		{"exit", func(context.Context, *Port) error { runtime.Goexit(); return nil }, true},
		{"nil pointer", func(context.Context, *Port) error { var b *Buffer; b.Length = 1; return nil }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var headErr error
			p := start(t, 2,
				StageSpec{Name: "head", Allocates: true, New: of(func(ctx context.Context, p *Port) error {
					headErr = sends(3)(ctx, p)
					<-ctx.Done()
					<-p.Done()
					return headErr
				})},
				StageSpec{Name: "tail", Instances: 2, New: func(i int) (Module, error) {
					if i == 0 {
						return moduleFunc(func(ctx context.Context, p *Port) error { <-ctx.Done(); return nil }), nil
					}
					return test.does, nil
				}},
			)
			err := p.Wait()
			var me *ModuleError
			if !errors.As(err, &me) || me.Module != "tail" || me.Instance != 1 || (me.Stack != nil) != test.stack {
				t.Errorf("ended with %v, which is %+v", err, me)
			}
			if !errors.Is(headErr, ErrStopped) || !errors.As(headErr, &me) {
				t.Errorf("head was told %v", headErr)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMisuse has each rule broken, and the pipe stopped for it.
func TestMisuse(t *testing.T) {
	ordered := func(f func(p *Port, b *Buffer) error) []StageSpec {
		return []StageSpec{
			{Name: "head", Allocates: true, New: of(sends(3))},
			{Name: "culprit", Ordered: true, New: of(receives(f))},
			{Name: "tail", New: of(receives(frees))},
		}
	}
	head := func(f moduleFunc) []StageSpec {
		return []StageSpec{
			{Name: "culprit", Allocates: true, New: of(f)},
			{Name: "tail", New: of(receives(frees))},
		}
	}
	tail := func(f moduleFunc) []StageSpec {
		return []StageSpec{{Name: "head", Allocates: true, New: of(sends(3))}, {Name: "culprit", New: of(f)}}
	}
	for _, test := range []struct {
		name   string
		stages []StageSpec
		says   string
	}{
		{"head receives", head(func(ctx context.Context, p *Port) error { _, err := p.ReceiveBuf(ctx); return err }), "head"},
		{"head tries to receive", head(func(ctx context.Context, p *Port) error { _, err := p.TryReceive(); return err }), "head"},
		{"tail sends", tail(receives(passes)), "tail"},
		{"tail allocates", tail(func(ctx context.Context, p *Port) error { _, err := p.AllocBuf(ctx); return err }), "allocates"},
		{"tail returns early", tail(func(ctx context.Context, p *Port) error { return nil }), "before the end of its input"},
		{"double free", tail(receives(func(p *Port, b *Buffer) error { p.FreeBuf(b); p.FreeBuf(b); return nil })), "frees"},
		{"send after free", ordered(func(p *Port, b *Buffer) error { p.FreeBuf(b); p.SendBuf(b); return nil }), "sends"},
		{"double send", ordered(func(p *Port, b *Buffer) error { p.SendBuf(b); p.SendBuf(b); return nil }), "sends"},
		{"free after send", ordered(func(p *Port, b *Buffer) error { p.SendBuf(b); p.FreeBuf(b); return nil }), "frees"},
		{"use after free", tail(receives(func(p *Port, b *Buffer) error { p.FreeBuf(b); b.Data()[0] = 1; return nil })), "index out of range"},
		{"wrong number", ordered(func(p *Port, b *Buffer) error { b.Seq += 7; p.SendBuf(b); return nil }), "number"},
		{"skip and send", ordered(func(p *Port, b *Buffer) error { p.Skip(b.Seq); p.SendBuf(b); return nil }), "number"},
		{"skip twice", ordered(func(p *Port, b *Buffer) error { p.Skip(b.Seq); p.Skip(b.Seq); return nil }), "number"},
		{"skip outside of brackets", tail(receives(func(p *Port, b *Buffer) error { p.Skip(1); return nil })), "number"},
		{"number not settled", ordered(frees), "settled"},
		{"number not settled at the end", []StageSpec{
			{Name: "head", Allocates: true, New: of(sends(1))},
			{Name: "culprit", Ordered: true, New: of(func(ctx context.Context, p *Port) error {
				b, err := p.ReceiveBuf(ctx)
				if err == nil {
					p.FreeBuf(b)
				}
				return err
			})},
			{Name: "tail", New: of(receives(frees))},
		}, "settled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, strict := range []bool{false, true} {
				p, err := Start(t.Context(), Spec{Name: "misused", Buffers: 4, Size: 100, Stages: test.stages, Strict: strict})
				if err != nil {
					t.Fatal(err)
				}
				err = p.Wait()
				var me *ModuleError
				if !errors.As(err, &me) || me.Module != "culprit" || !strings.Contains(err.Error(), test.says) {
					t.Errorf("strict %v: ended with %v, want culprit and %q", strict, err, test.says)
				}
				if !errors.Is(err, ErrMisuse) && test.name != "use after free" {
					t.Errorf("strict %v: %v is no misuse", strict, err)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestLeakIsNamed(t *testing.T) {
	p := start(t, 4,
		StageSpec{Name: "head", Allocates: true, New: of(sends(3))},
		StageSpec{Name: "sieve", New: of(receives(func(p *Port, b *Buffer) error { return nil }))})
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	err := p.Close()
	if !errors.Is(err, ErrLeak) || !strings.Contains(err.Error(), "last held by sieve") {
		t.Errorf("Close: %v", err)
	}
}

func TestContextStopsPipe(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("unmounted")
	p, err := Start(ctx, Spec{Name: "p", Buffers: 1, Size: 1, Stages: []StageSpec{
		{Name: "head", Allocates: true, New: of(func(ctx context.Context, p *Port) error {
			if err := sends(1)(ctx, p); err != nil {
				return err
			}
			cancel(why)
			_, err := p.AllocBuf(context.WithoutCancel(ctx))
			return err
		})},
		{Name: "tail", New: of(func(ctx context.Context, p *Port) error { <-ctx.Done(); return ctx.Err() })},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var me *ModuleError
	if err := p.Wait(); !errors.Is(err, why) || errors.As(err, &me) {
		t.Errorf("ended with %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	mk := of(sends(1))
	broken := errors.New("broken")
	head := StageSpec{Name: "head", Allocates: true, New: mk}
	for _, test := range []struct {
		name string
		spec Spec
		want error
	}{
		{"no stages", Spec{Buffers: 1, Size: 1}, ErrSpec},
		{"no name", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{{Allocates: true, New: mk}}}, ErrSpec},
		{"same name", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{head, {Name: "head", New: mk}}}, ErrSpec},
		{"negative instances", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{{Name: "h", Allocates: true, Instances: -1, New: mk}}}, ErrSpec},
		{"no constructor", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{{Name: "h", Allocates: true}}}, ErrSpec},
		{"head does not allocate", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{{Name: "h", New: mk}}}, ErrSpec},
		{"ordered head", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{{Name: "h", Allocates: true, Ordered: true, New: mk}}}, ErrSpec},
		{"ordered tail", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{head, {Name: "t", Ordered: true, New: mk}}}, ErrSpec},
		{"too few buffers", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{head, {Name: "t", Allocates: true, New: mk}}}, ErrSpec},
		{"no size", Spec{Buffers: 1, Stages: []StageSpec{head}}, ErrSpec},
		{"constructor fails", Spec{Buffers: 1, Size: 1, Stages: []StageSpec{head, {Name: "t",
			New: func(int) (Module, error) { return nil, broken }}}}, broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Start(t.Context(), test.spec); !errors.Is(err, test.want) {
				t.Errorf("Start: %v, want %v", err, test.want)
			}
		})
	}
}

// TestAllocIsFair has many callers wait, some of whom give up, and be served in order.
func TestAllocIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := newPipe(Spec{Name: "p", Buffers: 1, Size: 1, Stages: []StageSpec{
			{Name: "head", Allocates: true, New: of(sends(0))}}})
		if err != nil {
			t.Fatal(err)
		}
		port := &Port{pipe: p, stage: p.stages[0]}
		first, err := port.AllocBuf(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		impatient, giveUp := context.WithCancel(t.Context())
		got := make(chan int, 10)
		for i := range 10 {
			go func() {
				ctx := t.Context()
				if i%3 == 1 {
					ctx = impatient
				}
				b, err := port.AllocBuf(ctx)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("caller %d: %v", i, err)
					}
					return
				}
				got <- i
				port.FreeBuf(b)
			}()
			synctest.Wait()
		}
		if s := p.stages[0].status(p.pool); s.Waiting != 10 {
			t.Errorf("%d wait", s.Waiting)
		}
		giveUp()
		synctest.Wait()
		port.FreeBuf(first)
		synctest.Wait()
		close(got)
		if order := slices.Collect(chanValues(got)); !slices.Equal(order, []int{0, 2, 3, 5, 6, 8, 9}) {
			t.Errorf("served %v", order)
		}
		if err := errors.Join(p.pool.audit(), p.seg.Close()); err != nil {
			t.Error(err)
		}
	})
}

func chanValues[T any](c <-chan T) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}

// TestResequencerHoldsNoLonger sees buffers pass as soon as the lowest number has.
func TestResequencerHoldsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gates := make([]chan bool, 4) // true: send, false: skip
		for i := range gates {
			gates[i] = make(chan bool)
		}
		var got []int
		p := start(t, 8,
			StageSpec{Name: "head", Allocates: true, New: of(sends(4))},
			StageSpec{Name: "gate", Instances: 4, Ordered: true, New: of(receives(func(p *Port, b *Buffer) error {
				if <-gates[b.Length-1] {
					p.SendBuf(b)
				} else {
					seq := b.Seq
					p.FreeBuf(b)
					p.Skip(seq)
				}
				return nil
			}))},
			StageSpec{Name: "tail", New: of(receives(func(p *Port, b *Buffer) error {
				got = append(got, b.Length)
				return frees(p, b)
			}))})
		for _, step := range []struct {
			number, waiting int
			send            bool
			want            []int
		}{
			{2, 1, true, nil},
			{1, 1, false, nil},
			{0, 0, true, []int{1, 3}},
			{3, 0, true, []int{1, 3, 4}},
		} {
			gates[step.number] <- step.send
			synctest.Wait()
			if n := p.Status().Stages[2].Resequencing; n != step.waiting || !slices.Equal(got, step.want) {
				t.Errorf("after number %d: got %v, want %v; %d wait", step.number, got, step.want, n)
			}
		}
		if err := errors.Join(p.Wait(), p.Close()); err != nil {
			t.Error(err)
		}
	})
}
