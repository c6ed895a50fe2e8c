package pipeline

import "sync/atomic"

// stage is one stage of a running pipe.
type stage struct {
	index   int // from 0, the head
	spec    StageSpec
	in      *queue     // nil at the head
	out     *queue     // nil at the tail
	bracket *bracket   // that the stage lies in, or nil
	alloc   *allocator // nil if the stage does not allocate
	share   int

	running  atomic.Int32
	held     atomic.Int64 // buffers that its instances have allocated or received, and neither sent nor freed
	received atomic.Uint64
	sent     atomic.Uint64
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
}

// build makes the stages of spec, with the queues between them and the brackets around them.
func build(spec *Spec, pool *pool) []*stage {
	stages := make([]*stage, len(spec.Stages))
	share := spec.Buffers / spec.allocators()
	for i, ss := range spec.Stages {
		ss.Instances = max(ss.Instances, 1)
		st := &stage{index: i, spec: ss}
		if ss.Allocates {
			st.share = share
			st.alloc = pool.addAllocator(st, share)
		}
		if i > 0 {
			st.in = newQueue(st, spec.Buffers)
			stages[i-1].out = st.in
		}
		stages[i] = st
	}
	for i := 0; i < len(stages); i++ {
		first, window := i, spec.Buffers
		for ; stages[i].spec.Ordered; i++ {
			if stages[i].alloc != nil {
				window = share
			}
		}
		if i > first {
			k := newBracket(stages[first].in, stages[i].in, window)
			for _, st := range stages[first:i] {
				st.bracket = k
			}
		}
	}
	return stages
}
