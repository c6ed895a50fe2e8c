package stage

import (
	"fmt"
	"log/slog"
	"sync"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline"
)

// IntakeConfig says where a session of another machine is stored here. All fields but Begin, Log and Faults are needed.
type IntakeConfig struct {
	Store   chunkfmt.StoreID
	Volume  chunkfmt.VolumeID
	Session chunkfmt.SessionID
	Ordinal uint32
	// Acked is the last number that was acknowledged: the intake goes on behind it.
	Acked chunkfmt.Seq
	// Chunk is the number of the last chunk that the session has, of either kind; 0: none.
	Chunk uint32

	Medium    media.Medium
	Catalog   Catalog
	ChunkSize int64 // bytes
	// Begin is asked whether the session may go on from where its header says; nil: it may. An error is what Take fails
	// with.
	Begin func(prev chunkfmt.Predecessor) error
	// OnAcked is told that all up to a number is stable, and where the groups of it lie that it was not told of
	// before, ascending. It must be quick and may keep places. One call at a time.
	OnAcked func(upTo chunkfmt.Seq, places []Place)
	// OnStalled is told why the medium takes nothing more for now, and with nil that it does again. It must be quick.
	OnStalled func(error)
	Log       *slog.Logger
	Faults    Faults
}

// Intake is the storing half of a session whose other half, a Writer, is on another machine. It holds no key. Methods
// may be called concurrently, but for Take.
type Intake struct {
	cfg   IntakeConfig
	store *store
	retry chan struct{}
	next  chunkfmt.Seq // that Take is to be given; 0: any of the session

	mu      sync.Mutex // guards what follows; nothing is locked after it
	acked   chunkfmt.Seq
	places  []Place // not told of yet
	stalled bool
	failed  error
}

// NewIntake makes the storing half of a session.
func NewIntake(cfg IntakeConfig) *Intake {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	in := &Intake{cfg: cfg, retry: make(chan struct{}, 1), acked: cfg.Acked, next: cfg.Acked + 1}
	if cfg.Acked.Ordinal() != cfg.Ordinal {
		in.next = chunkfmt.MakeSeq(cfg.Ordinal, 1)
	}
	in.store = newStore(intakeOwner{in}, storeConfig{
		store: cfg.Store, volume: cfg.Volume, session: cfg.Session, ordinal: cfg.Ordinal, chunk: cfg.Chunk,
		medium: cfg.Medium, catalog: cfg.Catalog, chunkSize: cfg.ChunkSize, eager: true,
		log: cfg.Log, faults: cfg.Faults,
	})
	return in
}

// Tail is the last stage of the intake's pipe.
func (in *Intake) Tail() pipeline.StageSpec {
	return pipeline.StageSpec{Name: "store", New: func(int) (pipeline.Module, error) { return in.store, nil }}
}

// Take makes the first n bytes of b's memory (Raw), which came from another machine, ready for the tail. They must be
// whole tags of the session with intact payloads, and go on where the buffer before ended. Errors are what of that is
// not so. It is called in the order in which the buffers are sent to the tail, and returns the number that the next one
// is to begin with.
func (in *Intake) Take(b *pipeline.Buffer, n int) (chunkfmt.Seq, error) {
	sl, next, err := sealedOf(b.Raw(), n, in.next)
	if err != nil {
		return 0, err
	}
	if first := &sl.groups[0]; first.kind == chunkfmt.KindSessionHeader && in.cfg.Begin != nil {
		at := first.at + chunkfmt.TagSize
		if err := in.begin(b.Raw()[at : at+int(first.tag.OptionsLen)]); err != nil {
			return 0, err
		}
	}
	in.next = next
	b.Payload, b.Length = sl, n
	return next, nil
}

// begin reads in the options of a session header what the session goes on from.
func (in *Intake) begin(b []byte) error {
	options, err := chunkfmt.ParseOptions(b)
	if err != nil {
		return err
	}
	prev, err := chunkfmt.ParsePredecessor(options)
	if err != nil {
		return err
	}
	return in.cfg.Begin(prev)
}

// sealedOf checks that the first n bytes of raw are whole tags of one session with intact payloads, from number next on,
// either all of data or none. It returns them, and the number behind the last.
func sealedOf(raw []byte, n int, next chunkfmt.Seq) (*sealed, chunkfmt.Seq, error) {
	sl := &sealed{length: n}
	if n > len(raw) {
		return nil, 0, fmt.Errorf("%d bytes in a buffer of %d: %w", n, len(raw), ErrRange)
	}
	for at := 0; at < n; {
		tag, err := chunkfmt.ParseTag(raw[at:n])
		if err != nil {
			return nil, 0, err
		}
		end := at + chunkfmt.TagSize + tag.StoredLen()
		if end > n {
			return nil, 0, fmt.Errorf("%v of %d bytes in %d: %w", tag.Seq, end-at, n-at, chunkfmt.ErrTruncated)
		}
		if err := tag.Check(raw[at+chunkfmt.TagSize : end]); err != nil {
			return nil, 0, err
		}
		if tag.Seq != next || tag.SealedLen == 0 || tag.Flags&chunkfmt.FlagCopy != 0 {
			return nil, 0, fmt.Errorf("%v %v where %v is to come: %w", tag.Kind, tag.Seq, next, chunkfmt.ErrDamaged)
		}
		if (tag.Kind == chunkfmt.KindSessionHeader) != (tag.Seq.Number() == 1) ||
			len(sl.groups) > 0 && (tag.Kind == chunkfmt.KindData) != (sl.groups[0].kind == chunkfmt.KindData) {
			return nil, 0, fmt.Errorf("%v %v out of place: %w", tag.Kind, tag.Seq, chunkfmt.ErrDamaged)
		}
		sl.groups = append(sl.groups, group{kind: tag.Kind, flags: tag.Flags, seq: tag.Seq, at: at, tag: tag, length: end - at})
		at, next = end, next+1
	}
	if len(sl.groups) == 0 {
		return nil, 0, fmt.Errorf("a buffer without a tag: %w", chunkfmt.ErrDamaged)
	}
	return sl, next, nil
}

// Next is the number that the first buffer is to begin with; once there was one, Take says it.
func (in *Intake) Next() chunkfmt.Seq { return in.next }

// Acked is the last number that is stable.
func (in *Intake) Acked() chunkfmt.Seq {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.acked
}

// Failed says why the tail has ended and will acknowledge nothing more; nil while it has not.
func (in *Intake) Failed() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.failed
}

// Retry has a medium that took nothing more tried again at once; OnStalled then tells how it went.
func (in *Intake) Retry() {
	in.mu.Lock()
	stalled := in.stalled
	in.mu.Unlock()
	if !stalled {
		return
	}
	select {
	case in.retry <- struct{}{}:
	default:
	}
}

// intakeOwner is the Intake as its store stage sees it.
type intakeOwner struct{ *Intake }

func (in intakeOwner) appended(int)              {}
func (in intakeOwner) retrying() <-chan struct{} { return in.retry }

func (in intakeOwner) placed(sl *sealed, chunk chunkfmt.ChunkID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := range sl.groups {
		g := &sl.groups[i]
		if g.kind == chunkfmt.KindData {
			at := chunkfmt.Location{Chunk: chunk, Offset: g.tag.Offset, Length: uint32(g.tag.StoredLen())}
			in.places = append(in.places, Place{Seq: g.seq, At: at})
		}
	}
}

func (in intakeOwner) ack(seq chunkfmt.Seq, _ *waiter, _ Head) {
	in.mu.Lock()
	in.acked = max(in.acked, seq)
	n := 0
	for n < len(in.places) && in.places[n].Seq <= seq {
		n++
	}
	told := in.places[:n:n]
	in.places = append([]Place(nil), in.places[n:]...)
	in.mu.Unlock()
	if seq != 0 {
		in.cfg.OnAcked(seq, told)
	}
}

func (in intakeOwner) stalled(err error) bool {
	in.mu.Lock()
	news := in.Intake.stalled != (err != nil)
	in.Intake.stalled = err != nil
	in.mu.Unlock()
	in.cfg.OnStalled(err)
	return news
}

func (in intakeOwner) fail(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.failed = err
}
