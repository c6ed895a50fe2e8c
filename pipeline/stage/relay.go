package stage

import (
	"sync"

	"coffer/chunkfmt"
	"coffer/pipeline"
)

// RelayConfig says what a Relay goes on from, and whom it tells. All fields but Acked are needed.
type RelayConfig struct {
	Ordinal uint32 // of the session
	// Acked is the last number that is stable on the other machine, of whichever session.
	Acked chunkfmt.Seq
	// OnAcked is told that all up to a number is stable there. It must be quick. One call at a time.
	OnAcked func(upTo chunkfmt.Seq)
	// OnPlaced is told where a group lies there. It must be quick; OnAcked follows.
	OnPlaced func(Place)
	// OnStalled is told why nothing more will be stable there for now, and with nil that it will. It must be quick.
	OnStalled func(error)
}

// Relay ships to another machine the tags of a session that a Writer, now or in an earlier process, has stored on a
// medium here: what is written goes no longer way than to that medium. Take is for the head of the pipe that reads them;
// the other methods are those of a Writer for its tail. They may be called concurrently, but for Take.
type Relay struct {
	cfg   RelayConfig
	next  chunkfmt.Seq // that Take is to be given
	retry chan struct{}

	mu      sync.Mutex // guards what follows; nothing is locked after it
	stalled bool
}

// NewRelay makes a relay of one session.
func NewRelay(cfg RelayConfig) *Relay {
	r := &Relay{cfg: cfg, next: cfg.Acked + 1, retry: make(chan struct{}, 1)}
	if cfg.Acked.Ordinal() != cfg.Ordinal {
		r.next = chunkfmt.MakeSeq(cfg.Ordinal, 1)
	}
	return r
}

// Next is the number that the first buffer is to begin with; once there was one, Take says it.
func (r *Relay) Next() chunkfmt.Seq { return r.next }

// Take makes the first n bytes of b's memory (Raw), as they lie on the medium, ready for the tail. They must be whole
// tags of the session with intact payloads, either all of data or none, and go on where the buffer before ended. It
// returns the number that the next one is to begin with.
func (r *Relay) Take(b *pipeline.Buffer, n int) (chunkfmt.Seq, error) {
	sl, next, err := sealedOf(b.Raw(), n, r.next)
	if err != nil {
		return 0, err
	}
	r.next = next
	b.Payload, b.Length = sl, n
	return next, nil
}

// Shipment makes what lies in b ready to be shipped.
func (r *Relay) Shipment(b *pipeline.Buffer) Shipment { return newShipment(r, b) }

// Stalled is told why what is shipped will not be stable soon; nil ends that. It says whether that is news.
func (r *Relay) Stalled(err error) bool {
	r.mu.Lock()
	news := r.stalled != (err != nil)
	r.stalled = err != nil
	r.mu.Unlock()
	r.cfg.OnStalled(err)
	return news
}

// TryAgain has the other machine, if it takes nothing more, try again at once; OnStalled then tells how it went.
func (r *Relay) TryAgain() {
	r.mu.Lock()
	stalled := r.stalled
	r.mu.Unlock()
	if !stalled {
		return
	}
	select {
	case r.retry <- struct{}{}:
	default:
	}
}

// Retry has a token after TryAgain.
func (r *Relay) Retry() <-chan struct{} { return r.retry }

// Bound does nothing: nobody who reads what is stored here has to be made to wait.
func (r *Relay) Bound(int64) {}

// Bounded says that nobody waits for the bound.
func (r *Relay) Bounded() (now int, ever int64) { return 0, 0 }

// Failed does nothing: whoever runs the pipe learns from it why it has ended.
func (r *Relay) Failed(error) {}

func (r *Relay) place(g *group, l chunkfmt.Location) {
	if l.Chunk != 0 {
		r.cfg.OnPlaced(Place{Seq: g.seq, At: l})
	}
}

func (r *Relay) appended(int) {}

func (r *Relay) ack(seq chunkfmt.Seq, _ *waiter, _ Head) { r.cfg.OnAcked(seq) }
