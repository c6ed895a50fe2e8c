package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coffer/pipeline"
)

// ErrNoPipe: no pipe of that name runs.
var ErrNoPipe = errors.New("no such pipe")

// Monitor starts the pipes of a process and knows those that run. Methods are
// safe for concurrent use.
type Monitor struct {
	mu    sync.Mutex // guards what follows; nothing is locked after it
	pipes map[string]*pipeline.Pipe
}

// New makes a monitor without pipes.
func New() *Monitor { return &Monitor{pipes: map[string]*pipeline.Pipe{}} }

// Initiate starts the pipe that spec describes (INITIATE_PIPE). An
// empty name becomes one of NewName, which is the pipe's name on every
// machine. A pipe that has ended is forgotten when the next one is started.
func (m *Monitor) Initiate(ctx context.Context, spec pipeline.Spec) (*pipeline.Pipe, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, p := range m.pipes {
		if ended(p) {
			delete(m.pipes, name)
		}
	}
	if spec.Name == "" {
		spec.Name = NewName()
	}
	if _, ok := m.pipes[spec.Name]; ok {
		return nil, fmt.Errorf("initiate pipe %s: it runs already", spec.Name)
	}
	p, err := pipeline.Start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("initiate pipe %s: %w", spec.Name, err)
	}
	m.pipes[spec.Name] = p
	return p, nil
}

// last is the time stamp of the newest name.
var last atomic.Int64

// NewName makes a name that no pipe had before: host, process and time stamp.
func NewName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	for {
		old := last.Load()
		stamp := max(old+1, time.Now().UnixNano())
		if last.CompareAndSwap(old, stamp) {
			return fmt.Sprintf("%s-%d-%d", host, os.Getpid(), stamp)
		}
	}
}

// Status gives the status of all pipes that have not ended, by name.
func (m *Monitor) Status() []pipeline.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []pipeline.Status
	for _, p := range m.pipes {
		if !ended(p) {
			all = append(all, p.Status())
		}
	}
	slices.SortFunc(all, func(a, b pipeline.Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Stop stops a pipe at once, without draining it (STOP_PIPE), and
// waits until all of its modules have ended. Why is what they are told. ErrNoPipe if it has
// ended already.
func (m *Monitor) Stop(name string, why error) error {
	m.mu.Lock()
	p := m.pipes[name]
	m.mu.Unlock()
	if p == nil || ended(p) {
		return fmt.Errorf("stop pipe %s: %w", name, ErrNoPipe)
	}
	p.Abort(why)
	<-p.Done()
	return nil
}

func ended(p *pipeline.Pipe) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}
