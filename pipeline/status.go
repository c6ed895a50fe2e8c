package pipeline

// Status is a moment's picture of a pipe. Its numbers are read one after the other while the pipe
// goes on, so they need not add up exactly.
type Status struct {
	Name    string        `json:"name"`
	Running bool          `json:"running"`
	Error   string        `json:"error,omitempty"` // why it was stopped
	Buffers int           `json:"buffers"`
	Size    int           `json:"size"` // data bytes in a buffer
	Free    int           `json:"free"`
	Stages  []StageStatus `json:"stages"`
}

// StageStatus is a moment's picture of a stage.
type StageStatus struct {
	Name         string `json:"name"`
	Instances    int    `json:"instances"`
	Running      int    `json:"running"`      // instances that have not returned
	Queue        int    `json:"queue"`        // buffers ready to be received
	Resequencing int    `json:"resequencing"` // buffers before its queue that wait for a lower number
	Held         int    `json:"held"`         // buffers in the hands of its instances
	Allocated    int    `json:"allocated"`    // buffers that it allocated, wherever they are
	Share        int    `json:"share"`        // how many it may have allocated at a time
	Waiting      int    `json:"waiting"`      // callers waiting to allocate
	Received     uint64 `json:"received"`     // buffers
	Sent         uint64 `json:"sent"`         // buffers
	BytesIn      uint64 `json:"bytes_in"`     // Length of the buffers received
	BytesOut     uint64 `json:"bytes_out"`    // Length of the buffers sent
}

// Status says how the pipe is doing. Concurrent use, at any time, also after Close.
func (p *Pipe) Status() Status {
	s := Status{Name: p.name, Buffers: p.seg.Buffers(), Size: p.seg.Size(), Free: p.pool.freeCount()}
	select {
	case <-p.done:
	default:
		s.Running = true
	}
	if err := p.Err(); err != nil {
		s.Error = err.Error()
	}
	for _, st := range p.stages {
		s.Stages = append(s.Stages, st.status(p.pool))
	}
	return s
}

func (st *stage) status(pool *pool) StageStatus {
	s := StageStatus{
		Name:      st.spec.Name,
		Instances: st.spec.Instances,
		Running:   int(st.running.Load()),
		Held:      int(st.held.Load()),
		Received:  st.received.Load(),
		Sent:      st.sent.Load(),
		BytesIn:   st.bytesIn.Load(),
		BytesOut:  st.bytesOut.Load(),
		Share:     st.share,
	}
	if st.in != nil {
		s.Queue = int(st.in.depth.Load())
		s.Resequencing = st.in.resequencing()
	}
	if st.alloc != nil {
		s.Allocated, s.Waiting = pool.account(st.alloc)
	}
	return s
}
