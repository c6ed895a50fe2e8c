package pipeline

import (
	"context"
	"fmt"
)

// Module is one instance of a stage.
type Module interface {
	// Run is called once, in a goroutine of its own, and does all of the instance's work. It
	// returns nil when it has finished cleanly: a head because it has no more to send, others
	// because ReceiveBuf gave io.EOF. Any other return, or a panic, stops the whole pipe. ctx ends
	// when the pipe stops, and only then. What Run starts it waits for.
	Run(ctx context.Context, p *Port) error
}

// StageSpec describes one stage of a pipe.
type StageSpec struct {
	Name      string // of the module; not empty, unique in its pipe
	Instances int    // run in parallel on one input queue; 0 means 1
	Allocates bool   // may call AllocBuf; has a share of the buffers
	Ordered   bool   // buffers leave the stage in the order in which they entered; not for head or tail

	// New makes one instance. Start calls it in turn for 0 … Instances−1, from its own goroutine,
	// before anything runs.
	New func(instance int) (Module, error)
}

// Spec describes a pipe: what INITIATE_PIPE is told.
type Spec struct {
	Name     string // of the pipe, the same on every machine: monitor.Initiate makes it
	Buffers  int    // in the segment; at least one for each stage that allocates
	Size     int    // bytes of data in a buffer, at least 1
	Headroom int    // bytes in front of the data, at least 0

	// Stages from the head, which only allocates and sends, to the tail, which only receives and
	// frees. A single stage is both, so it only allocates and frees.
	Stages []StageSpec

	// Strict makes misuse panic in the goroutine that did it, and overwrites the bytes of a buffer
	// as it is freed. For tests.
	Strict bool
}

func (s *Spec) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("pipe %q: %w: %s", s.Name, ErrSpec, fmt.Sprintf(format, args...))
	}
	if len(s.Stages) == 0 {
		return bad("no stages")
	}
	names := make(map[string]bool, len(s.Stages))
	for i, st := range s.Stages {
		switch {
		case st.Name == "":
			return bad("stage %d has no name", i)
		case names[st.Name]:
			return bad("two stages are named %q", st.Name)
		case st.Instances < 0:
			return bad("stage %q has %d instances", st.Name, st.Instances)
		case st.New == nil:
			return bad("stage %q has no constructor", st.Name)
		case i == 0 && !st.Allocates:
			return bad("head %q does not allocate", st.Name)
		case st.Ordered && (i == 0 || i == len(s.Stages)-1):
			return bad("stage %q is ordered, but has no queue on both sides", st.Name)
		}
		names[st.Name] = true
	}
	if na := s.allocators(); s.Buffers < na {
		return bad("%d buffers for %d modules that allocate", s.Buffers, na)
	}
	return nil
}

// allocators is NA, the number of modules among which the buffers are shared.
func (s *Spec) allocators() int {
	n := 0
	for _, st := range s.Stages {
		if st.Allocates {
			n++
		}
	}
	return n
}
