package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// plan is a random pipe, what its modules do with each message, and how it is disturbed. Everything
// that a module does depends on the plan and the message only, so the outcome can be foretold.
type plan struct {
	Seed     uint64
	Buffers  int
	Stages   []stagePlan
	Messages int  // sent by each instance of the head
	Outside  int  // goroutines that use the head's port instead of its Run; 0 for none
	Trouble  kind // what happens
	At       int  // the stage to which it happens
	After    int  // how many messages the stage handles first
}

type stagePlan struct {
	Instances int
	Allocates bool
	Ordered   bool
	Early     bool // allocates before it receives
	Slow      int  // work takes up to so many ticks of virtual time
	Only      act  // does this with all messages
}

type kind int

const (
	noTrouble kind = iota
	returnsError
	panics
	exits
	aborted
	cancelled
	doubleFree
	doubleSend
	losesNumber
	kinds
)

// act is what a stage does with a message.
type act int

const (
	_ act = iota
	pass
	drop
	replace  // send another buffer and free the one received
	ride     // send another buffer, which takes the one received along
	multiply // send the one received and another one
)

var errTrouble = errors.New("trouble")

// message is the payload of a buffer.
type message struct {
	id     uint64
	owner  int // stage that allocated the buffer
	number uint64
	rider  *Buffer
}

// run is a plan while it is carried out: the modules and what is known of them.
type run struct {
	plan
	pipe    *Pipe
	handled []atomic.Int64 // by stage
	charged []atomic.Int64 // by stage
	cancel  context.CancelCauseFunc
	outside sync.WaitGroup // goroutines that use the head's port

	mu       sync.Mutex
	faults   []error
	arrived  map[uint64]int // messages that left the pipe
	expected map[uint64]int
}

// mix is a hash that is the same in every run, so that a failure can be repeated.
func mix(a, b, c uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, v := range [3]uint64{a, b, c} {
		h = (h ^ v) * 0xbf58476d1ce4e5b9
		h ^= h >> 29
	}
	return h
}

func (r *run) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

func (r *run) last(stage int) bool { return stage == len(r.Stages)-1 }

func (r *run) act(stage int, id uint64) act {
	sp := r.Stages[stage]
	switch n := mix(r.Seed, uint64(stage), id) % 16; {
	case r.last(stage):
		return drop
	case sp.Only != 0:
		return sp.Only
	case n < 3:
		return drop
	case stage == 0: // has one buffer, and may have no share of a second
		return pass
	case n < 6 && sp.Allocates:
		return replace
	case n < 9 && sp.Allocates:
		return ride
	case n < 11 && sp.Allocates && !sp.Ordered:
		return multiply
	}
	return pass
}

// expect follows a message to the end of the pipe.
func (r *run) expect(stage int, id uint64) {
	if r.last(stage) {
		r.expected[id]++
		return
	}
	switch r.act(stage, id) {
	case drop:
		return
	case multiply:
		r.expect(stage+1, mix(id, uint64(stage), 1))
	}
	r.expect(stage+1, id)
}

func (r *run) id(source, n int) uint64 { return uint64(source)<<32 | uint64(n) }

// sources is how many series of messages the head sends.
func (r *run) sources() int {
	if r.Outside > 0 {
		return r.Outside
	}
	return r.Stages[0].Instances
}

// execute carries out the plan inside a synctest bubble and reports every broken promise. alter, if
// not nil, breaks the pipe on purpose before it runs.
func execute(ctx context.Context, pl plan, alter func(*Pipe)) error {
	r := &run{
		plan:     pl,
		handled:  make([]atomic.Int64, len(pl.Stages)),
		charged:  make([]atomic.Int64, len(pl.Stages)),
		arrived:  make(map[uint64]int),
		expected: make(map[uint64]int),
	}
	spec := Spec{Name: "model", Buffers: pl.Buffers, Size: 64, Headroom: 16}
	for i, sp := range pl.Stages {
		spec.Stages = append(spec.Stages, StageSpec{
			Name: fmt.Sprint("stage", i), Instances: sp.Instances, Allocates: sp.Allocates, Ordered: sp.Ordered,
			New: func(instance int) (Module, error) {
				if i == 0 {
					return &source{run: r, instance: instance}, nil
				}
				return &worker{run: r, stage: i}, nil
			},
		})
	}
	p, err := newPipe(spec)
	if err != nil {
		return err
	}
	if alter != nil {
		alter(p)
	}
	r.pipe = p
	ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	if err := p.run(ctx); err != nil {
		return err
	}
	r.watch()
	r.judge()
	return errors.Join(r.faults...)
}

// watch waits for the end. Time is virtual: the hour passes only when nobody can go on.
func (r *run) watch() {
	select {
	case <-r.pipe.Done():
	case <-time.After(time.Hour):
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		r.fault("deadlock: %+v\n%s", r.pipe.Status(), stacks)
		r.pipe.Abort(errTrouble)
		<-r.pipe.Done()
	}
}

func (r *run) judge() {
	err := r.pipe.Wait()
	r.outside.Wait()
	if err := r.pipe.Close(); err != nil {
		r.fault("close: %w", err)
	}
	s := r.pipe.Status()
	if s.Free != s.Buffers {
		r.fault("%d of %d buffers are free at the end", s.Free, s.Buffers)
	}
	for _, st := range s.Stages {
		if st.Held != 0 || st.Allocated != 0 || st.Waiting != 0 || st.Running != 0 {
			r.fault("at the end: %+v", st)
		}
	}
	if err != nil {
		r.judgeError(err)
		return
	}
	for source := range r.sources() {
		for n := range r.Messages {
			r.expect(0, r.id(source, n+1))
		}
	}
	if !maps.Equal(r.arrived, r.expected) {
		r.fault("%d messages arrived, %d expected", len(r.arrived), len(r.expected))
	}
}

// judgeError checks that the pipe's error is the trouble that was planned.
func (r *run) judgeError(err error) {
	var me *ModuleError
	named := errors.As(err, &me) && me.Module == fmt.Sprint("stage", r.At)
	ok := false
	switch r.Trouble {
	case returnsError:
		ok = named && errors.Is(err, errTrouble)
	case panics:
		ok = named && errors.Is(err, errTrouble) && me.Stack != nil
	case exits:
		ok = named && me.Stack != nil
	case aborted, cancelled:
		ok = me == nil && errors.Is(err, errTrouble)
	case doubleFree, doubleSend, losesNumber:
		ok = named && errors.Is(err, ErrMisuse)
	}
	if !ok {
		r.fault("trouble %d at stage %d gave %w", r.Trouble, r.At, err)
	}
}

// trouble makes what was planned happen when its time has come.
func (r *run) trouble(ctx context.Context, stage int, p *Port, b *Buffer) error {
	if r.At != stage || r.handled[stage].Add(1) != int64(r.After)+1 {
		return nil
	}
	switch r.Trouble {
	case returnsError:
		return errTrouble
	case panics:
		panic(errTrouble)
	case exits:
		runtime.Goexit()
	case aborted:
		r.pipe.Abort(errTrouble)
	case cancelled:
		r.cancel(errTrouble)
	case doubleFree:
		r.free(p, b)
		p.FreeBuf(b)
		return ErrStopped
	case doubleSend:
		if r.last(stage) {
			r.free(p, b)
		} else {
			p.SendBuf(b)
		}
		p.SendBuf(b)
		return ErrStopped
	case losesNumber:
		if r.Stages[stage].Ordered {
			r.free(p, b)
			_, err := p.ReceiveBuf(ctx)
			return err
		}
	}
	return nil
}

// work takes a time that depends on the message.
func (r *run) work(ctx context.Context, stage int, id uint64) {
	slow := r.Stages[stage].Slow
	if slow == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(mix(r.Seed+1, uint64(stage), id) % uint64(slow))):
	}
}

func (r *run) alloc(ctx context.Context, stage int, p *Port) (*Buffer, error) {
	b, err := p.AllocBuf(ctx)
	if err != nil {
		return nil, err
	}
	if n := r.charged[stage].Add(1); n > int64(p.Share()) {
		r.fault("share exceeded: stage %d has allocated %d of %d", stage, n, p.Share())
	}
	b.Payload = &message{owner: stage}
	return b, nil
}

func (r *run) free(p *Port, b *Buffer) {
	r.charged[b.Payload.(*message).owner].Add(-1)
	p.FreeBuf(b)
}

// label writes the message into the buffer, so that two that share memory are found out.
func label(b *Buffer, id uint64) {
	b.Payload.(*message).id = id
	binary.BigEndian.PutUint64(b.Data(), id)
	copy(b.Raw(), "headroom")
	b.Length = 8
}

func (r *run) check(b *Buffer) {
	id := b.Payload.(*message).id
	if got := binary.BigEndian.Uint64(b.Data()); got != id {
		r.fault("buffer of message %x holds the bytes of %x", id, got)
	}
}

// source is the head.
type source struct {
	run      *run
	instance int
}

func (s *source) Run(ctx context.Context, p *Port) error {
	r := s.run
	if r.Outside == 0 {
		return s.send(ctx, p, s.instance)
	}
	// As the handlers of a file system do, these outlive Run when the pipe stops, and have contexts of
	// their own that do not end with it.
	ctx = context.WithoutCancel(ctx)
	results := make(chan error, r.Outside)
	started := 0
	for n := range r.Outside {
		if n%r.Stages[0].Instances == s.instance {
			started++
			r.outside.Go(func() { results <- s.send(ctx, p, n) })
		}
	}
	for range started {
		if err := <-results; err != nil {
			return err
		}
	}
	return nil
}

func (s *source) send(ctx context.Context, p *Port, number int) error {
	r := s.run
	for n := range r.Messages {
		b, err := r.alloc(ctx, 0, p)
		if err != nil {
			return err
		}
		label(b, r.id(number, n+1))
		if err := r.forward(ctx, 0, p, b, nil); err != nil {
			return err
		}
	}
	return nil
}

// worker is any other stage.
type worker struct {
	run   *run
	stage int
	last  uint64 // number in the bracket before of the message received last
}

func (w *worker) Run(ctx context.Context, p *Port) error {
	r, sp := w.run, w.run.Stages[w.stage]
	for {
		var spare *Buffer
		var err error
		if sp.Early && sp.Allocates {
			if spare, err = r.alloc(ctx, w.stage, p); err != nil {
				return err
			}
		}
		b, err := p.ReceiveBuf(ctx)
		if err != nil && spare != nil {
			r.free(p, spare)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		w.receive(p, b)
		if err := r.forward(ctx, w.stage, p, b, spare); err != nil {
			return err
		}
	}
}

// receive checks what came: its bytes, and its place if it left a bracket.
func (w *worker) receive(p *Port, b *Buffer) {
	r, m := w.run, b.Payload.(*message)
	r.check(b)
	if m.rider != nil {
		r.check(m.rider)
		r.free(p, m.rider)
		m.rider = nil
	}
	sp, before := r.Stages[w.stage], r.Stages[w.stage-1]
	if before.Ordered && !sp.Ordered && sp.Instances == 1 {
		if m.number <= w.last {
			r.fault("order: stage %d received number %d after %d", w.stage, m.number, w.last)
		}
		w.last = m.number
	}
	if sp.Ordered && !before.Ordered {
		m.number = b.Seq
	}
	if sp.Ordered && m.number != b.Seq {
		r.fault("stage %d received number %d as %d", w.stage, m.number, b.Seq)
	}
}

// forward does with b what the plan says. spare is a buffer allocated beforehand, or nil.
func (r *run) forward(ctx context.Context, stage int, p *Port, b, spare *Buffer) error {
	m, number := b.Payload.(*message), b.Seq
	r.work(ctx, stage, m.id)
	if err := r.trouble(ctx, stage, p, b); err != nil {
		return err
	}
	a := r.act(stage, m.id)
	if a == replace || a == ride || a == multiply {
		if spare == nil {
			var err error
			if spare, err = r.alloc(ctx, stage, p); err != nil {
				return err
			}
		}
		label(spare, m.id)
		spare.Seq = number
		spare.Payload.(*message).number = m.number
	}
	switch a {
	case pass:
		p.SendBuf(b)
	case drop:
		if r.last(stage) {
			r.mu.Lock()
			r.arrived[m.id]++
			r.mu.Unlock()
		}
		r.free(p, b)
		if r.Stages[stage].Ordered {
			p.Skip(number)
		}
	case replace:
		r.free(p, b)
		p.SendBuf(spare)
		return nil
	case ride:
		spare.Payload.(*message).rider = b
		p.SendBuf(spare)
		return nil
	case multiply:
		label(spare, mix(m.id, uint64(stage), 1))
		p.SendBuf(b)
		p.SendBuf(spare)
		return nil
	}
	if spare != nil {
		r.free(p, spare)
	}
	return nil
}

// simple is a plan without trouble, of the given stages.
func simple(buffers, messages int, stages ...stagePlan) plan {
	return plan{Seed: 1, Buffers: buffers, Messages: messages, Stages: slices.Clone(stages)}
}
