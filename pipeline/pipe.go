package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Pipe is a running pipe. Concurrent use.
type Pipe struct {
	name   string
	strict bool
	seg    *Segment
	pool   *pool
	stages []*stage

	stopping chan struct{} // closed when the pipe stops or has ended
	done     chan struct{} // closed when all instances have returned and nothing is held
	cancel   context.CancelFunc

	mu      sync.Mutex // guards what follows; queues and pool are locked after it
	cause   error      // why the pipe was stopped; nil while it runs and after a clean end
	stopped error      // ErrStopped around the cause
	ended   bool

	close    sync.Once
	closeErr error
}

// Start makes the segment and the modules of spec and lets them run. The pipe stops when ctx ends;
// ctx's values reach the modules. ErrSpec, or what a constructor returned, if nothing was started.
// A started pipe needs a Close.
func Start(ctx context.Context, spec Spec) (*Pipe, error) {
	p, err := newPipe(spec)
	if err != nil {
		return nil, err
	}
	if err := p.run(ctx); err != nil {
		return nil, errors.Join(err, p.seg.Close())
	}
	return p, nil
}

func newPipe(spec Spec) (*Pipe, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	seg, err := NewSegment(spec.Buffers, spec.Size, spec.Headroom)
	if err != nil {
		return nil, fmt.Errorf("pipe %q: %w", spec.Name, err)
	}
	p := &Pipe{
		name:     spec.Name,
		strict:   spec.Strict,
		seg:      seg,
		pool:     newPool(seg),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
	p.stages = build(&spec, p.pool)
	return p, nil
}

// instance is one module with its port, ready to run.
type instance struct {
	module Module
	port   *Port
}

func (p *Pipe) run(ctx context.Context) error {
	var instances []instance
	for _, st := range p.stages {
		for i := range st.spec.Instances {
			m, err := st.spec.New(i)
			if err != nil {
				return fmt.Errorf("pipe %q: make module %s instance %d: %w", p.name, st.spec.Name, i, err)
			}
			instances = append(instances, instance{m, &Port{pipe: p, stage: st, instance: i}})
		}
		st.running.Store(int32(st.spec.Instances))
	}
	// Modules learn of ctx's end through Abort, so that the pipe's end, and not one of them, is to
	// blame.
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	unwatch := context.AfterFunc(ctx, func() { p.Abort(context.Cause(ctx)) })

	var wg sync.WaitGroup
	for _, in := range instances {
		wg.Go(func() { p.runInstance(runCtx, in) })
	}
	go func() {
		wg.Wait()
		unwatch()
		p.end()
	}()
	return nil
}

// outcome is how a module ended; stack is where, if it did not return.
type outcome struct {
	err   error
	stack []byte
}

func (p *Pipe) runInstance(ctx context.Context, in instance) {
	var o outcome
	// Deferred, since a module may end its goroutine instead of returning.
	defer p.instanceEnded(in, &o)
	call(ctx, in.module, in.port, &o)
}

func (p *Pipe) instanceEnded(in instance, o *outcome) {
	st := in.port.stage
	if n := in.port.unsettled(); o.err == nil && n > 0 {
		o.err = fmt.Errorf("returned before it had settled %d numbers: %w", n, ErrMisuse)
	}
	if o.err != nil {
		p.Abort(&ModuleError{st.spec.Name, in.port.instance, o.err, o.stack})
	}
	if st.running.Add(-1) > 0 {
		return
	}
	if st.in != nil && !st.in.drained() {
		err := fmt.Errorf("returned before the end of its input: %w", ErrMisuse)
		p.Abort(&ModuleError{st.spec.Name, in.port.instance, err, nil})
	}
	if st.alloc != nil {
		p.pool.finish(st.alloc)
	}
	if st.out != nil {
		st.out.close()
	}
}

// call runs a module and makes an error of whatever else may end it.
func call(ctx context.Context, m Module, port *Port, o *outcome) {
	// A module that touches memory outside of a segment dies alone, not with the process.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	returned := false
	defer func() {
		if returned {
			return
		}
		o.stack = debug.Stack()
		switch v := recover().(type) {
		case nil:
			o.err = errors.New("goroutine exited")
		case error:
			o.err = fmt.Errorf("panic: %w", v)
		default:
			o.err = fmt.Errorf("panic: %v", v)
		}
	}()
	o.err = m.Run(ctx, port)
	returned = true
}

// Abort stops the pipe because of err: all waits end, queued buffers are freed, the modules'
// context ends. It does not wait. Only the first cause counts; after the end it does nothing.
func (p *Pipe) Abort(err error) {
	if err == nil {
		err = errors.New("aborted")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.cause != nil {
		return
	}
	p.cause = fmt.Errorf("pipe %q: %w", p.name, err)
	p.stopped = fmt.Errorf("%w: %w", ErrStopped, p.cause)
	p.pool.stop(p.stopped)
	for _, st := range p.stages {
		if st.in != nil {
			st.in.stop(p.stopped, p.reclaim)
		}
	}
	close(p.stopping)
	p.cancel()
}

// reclaim takes a buffer that was sent and cannot be received any more out of the accounts.
func (p *Pipe) reclaim(b *Buffer) {
	b.state.Store(stateReclaimed)
	p.pool.release(b)
}

// end is called when all instances have returned.
func (p *Pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.cause == nil {
		close(p.stopping)
		p.cancel()
	} else {
		p.pool.reclaim()
	}
	close(p.done)
}

// Done is closed when all modules have returned.
func (p *Pipe) Done() <-chan struct{} { return p.done }

// Wait waits until all modules have returned, and says why the pipe was stopped: a *ModuleError is
// in the chain if a module ended abnormally. nil after a clean end.
func (p *Pipe) Wait() error {
	<-p.done
	return p.Err()
}

// Err says why the pipe was stopped; nil while it runs and after a clean end.
func (p *Pipe) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// stopReason is the error of calls into a stopped pipe; nil while it runs and after a clean end.
func (p *Pipe) stopReason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// Name is the name of the pipe.
func (p *Pipe) Name() string { return p.name }

// Segment is the pipe's memory; it is closed with the pipe.
func (p *Pipe) Segment() *Segment { return p.seg }

// Close waits for the end, checks that every buffer was freed exactly once (ErrLeak), and unmaps the
// segment. It does not repeat what Wait returns. The caller sees to it that nobody outside the
// modules uses a buffer or its bytes any more. Further calls return what the first did.
func (p *Pipe) Close() error {
	<-p.done
	p.close.Do(func() {
		if err := p.pool.audit(); err != nil {
			p.closeErr = fmt.Errorf("pipe %q: %w", p.name, err)
			p.pool.reclaim()
		}
		p.closeErr = errors.Join(p.closeErr, p.seg.Close())
	})
	return p.closeErr
}
