package mover

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/remote"
	"coffer/pipeline"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
	"coffer/pipeline/stage"
)

// farVolume is a volume of a client's as a Destination keeps it.
type farVolume struct {
	d     *Destination
	id    chunkfmt.VolumeID
	lease lease

	running  atomic.Pointer[farPipe] // set under mu
	cleaning farCleaning
	quota    atomic.Pointer[quota] // of the pipe; nil: it has none
	// elsewhere are the bytes of the owner's other volumes, when the last pipe began.
	elsewhere atomic.Uint64

	mu      sync.Mutex        // guards what follows; held while a pipe is made, and while the catalog is opened
	origin  chunkfmt.VolumeID // what it is a branch of, or itself
	medium  media.Medium      // where its chunks are, by the names that they have in origin; nil: not known yet
	catalog *media.Catalog
	unlock  func() error
	handler http.Handler
	last    struct { // the latest request for a pipe
		client  channel.Key
		attempt uint64
	}
}

// farPipe is the receiving half of a pipe.
type farPipe struct {
	name       string
	client     channel.Key
	clientName string
	holder     string
	session    chunkfmt.SessionID
	agents     int
	receiver   *agent.Receiver
	intake     *stage.Intake
	pipe       *pipeline.Pipe
	life       context.Context // of its connections
	cut        func()          // ends life
	dropped    atomic.Bool     // it was not the pipe that failed: the client may attach again
	over       chan struct{}   // closed when it has ended
	err        error           // why, then
}

func (v *farVolume) current() *farPipe { return v.running.Load() }

// open opens the catalog, and keeps processes of this machine from writing the volume besides.
func (v *farVolume) open(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.openLocked(ctx)
}

// place finds where the volume's chunks are. mu is held.
func (v *farVolume) place(ctx context.Context) error {
	if v.medium != nil {
		return nil
	}
	origin, err := media.Origin(ctx, v.d.o.Medium, v.id)
	if err != nil {
		return err
	}
	v.origin, v.medium = origin, media.At(v.d.o.Medium, origin, v.id)
	return nil
}

func (v *farVolume) openLocked(ctx context.Context) (err error) {
	if v.handler != nil {
		return nil
	}
	if err := v.place(ctx); err != nil {
		return err
	}
	unlock := func() error { return nil }
	if locker, ok := v.medium.(media.Locker); ok {
		if unlock, err = locker.Lock(ctx, media.VolumePrefix(v.origin)+"lock", "coffer serve"); err != nil {
			return err
		}
	}
	c, err := media.OpenCatalog(v.d.life, v.d.o.CatalogPath(v.id), v.medium, v.origin, media.CatalogOptions{Log: v.d.o.Log})
	if err != nil {
		return errors.Join(err, unlock())
	}
	if err := c.Refresh(ctx); err != nil {
		return errors.Join(err, c.Close(), unlock())
	}
	v.catalog, v.unlock = c, unlock
	far := remote.Volume{
		ID: v.origin, Medium: v.medium, Places: c.Places, Space: v.space,
		Lease:   v.grant,
		Release: func(r *http.Request) error { return v.lease.release(channel.ClientOf(r.Context()), v.d.o.Clock()) },
	}
	if v.d.o.Removals != nil {
		far.Remove, far.Removal = v.remove, v.removal
	}
	v.handler = remote.Handler(far)
	return nil
}

// grant gives the lease to a client. What another one has under way is void from then on, and must not be acknowledged.
func (v *farVolume) grant(r *http.Request, asked remote.Lease) error {
	c := channel.ClientOf(r.Context())
	if err := v.lease.take(c, asked, v.d.o.Clock(), v.d.o.LeaseTime); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.current(); p != nil && p.client != c.Key {
		v.drop(p, fmt.Errorf("%s has taken the volume over", c.Name))
	}
	return nil
}

// space is what the medium has left, and the client's quota.
func (v *farVolume) space(r *http.Request) (media.Space, error) {
	spacer, ok := v.medium.(media.Spacer)
	if !ok {
		return media.Space{}, errors.ErrUnsupported
	}
	space, err := spacer.Space(r.Context())
	quota := channel.ClientOf(r.Context()).Quota
	if err != nil || quota == 0 {
		return space, err
	}
	used := v.used()
	space.Total = min(space.Total, quota)
	space.Free = min(space.Free, quota-min(used, quota))
	return space, nil
}

// limited is the medium within a client's quota.
func (v *farVolume) limited(limit uint64) media.Medium {
	if limit == 0 {
		v.quota.Store(nil)
		return v.medium
	}
	q := &quota{Medium: v.medium, limit: int64(min(limit, 1<<62))}
	q.used.Store(int64(v.used()))
	v.quota.Store(q)
	return q
}

// used is how many bytes the volume, and the others of its owner, take on the medium.
func (v *farVolume) used() uint64 {
	n := v.elsewhere.Load()
	for _, c := range v.catalog.Chunks() {
		n += uint64(c.Size)
	}
	return n
}

// attach gives a client the receiving half of its pipe.
func (v *farVolume) attach(ctx context.Context, c channel.Client, a agent.Attach) (agent.Attached, error) {
	const mostAgents = 64
	session, err := hex.DecodeString(a.Session)
	if err != nil || len(session) != len(chunkfmt.SessionID{}) || a.Pipe == "" || len(a.Pipe) > 256 ||
		a.Agents < 1 || a.Agents > mostAgents || a.Ordinal == 0 || a.Ordinal > chunkfmt.MaxOrdinal {
		return agent.Attached{}, fmt.Errorf("pipe %.80q of session %.80q with %d agents: %w", a.Pipe, a.Session, a.Agents, errBad)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.place(ctx); err != nil {
		return agent.Attached{}, err
	}
	// Who was followed is told so, whoever has the lease now.
	if _, _, err := v.chunksOf(ctx, a.Ordinal); err != nil {
		return agent.Attached{}, err
	}
	if err := v.lease.again(c, a.Holder, v.d.o.Clock(), v.d.o.LeaseTime); err != nil {
		return agent.Attached{}, err
	}
	if err := v.openLocked(ctx); err != nil {
		return agent.Attached{}, err
	}
	// One that was held up on its way knows of less that was acknowledged: what counts would be removed.
	if v.last.client == c.Key && a.Attempt <= v.last.attempt {
		return agent.Attached{}, fmt.Errorf("pipe %q: %w", a.Pipe, &overtakenError{v.last.attempt})
	}
	v.last.client, v.last.attempt = c.Key, a.Attempt
	p := v.current()
	if p == nil || p.name != a.Pipe || p.client != c.Key || p.hasEnded() {
		v.drop(p, fmt.Errorf("%s has begun another pipe", c.Name))
		if p, err = v.start(ctx, c, a, chunkfmt.SessionID(session)); err != nil {
			return agent.Attached{}, err
		}
	}
	return agent.Attached{Acked: p.intake.Acked(), Window: v.d.o.Window}, nil
}

// start starts the receiving half behind what is acknowledged. mu is held.
func (v *farVolume) start(ctx context.Context, c channel.Client, a agent.Attach, session chunkfmt.SessionID) (*farPipe, error) {
	chunk, err := v.continues(ctx, c, a, session)
	if err != nil {
		return nil, err
	}
	var begin func(chunkfmt.Predecessor) error
	if c.AppendOnly {
		end, err := v.end(ctx, a.Ordinal)
		if err != nil {
			return nil, err
		}
		begin = end.check
	}
	if c.Quota > 0 {
		if err := v.countOthers(ctx); err != nil {
			return nil, err
		}
	}
	log := v.d.o.Log.With("client", c.Name)
	r := agent.NewReceiver(a.Agents, troubleOf, log)
	in := stage.NewIntake(stage.IntakeConfig{
		Store: v.d.o.Store, Volume: v.origin, Session: session, Ordinal: a.Ordinal, Acked: a.Acked, Chunk: chunk,
		Medium: v.limited(c.Quota), Catalog: v.catalog, ChunkSize: v.d.o.ChunkBytes,
		Begin: begin, OnAcked: r.OnAcked, OnStalled: r.OnStalled, Log: log, Faults: v.d.o.Faults,
	})
	r.Feed(in)
	p := &farPipe{
		name: a.Pipe, client: c.Key, clientName: c.Name, holder: a.Holder, session: session, agents: a.Agents,
		receiver: r, intake: in, over: make(chan struct{}),
	}
	life, end := context.WithCancel(v.d.life)
	p.life, p.cut = life, end
	p.pipe, err = v.d.o.Starter.Initiate(v.d.life, pipeline.Spec{
		Name: a.Pipe, Buffers: agent.Buffers(v.d.o.Window, a.Agents), Size: stage.BufferSize, Headroom: stage.Headroom,
		Stages: []pipeline.StageSpec{r.Spec(), in.Tail()},
	})
	if err != nil {
		end()
		return nil, err
	}
	log.Info("a pipe has begun", "server pipe", p.name, "holder", p.holder, "session", a.Ordinal, "agents", a.Agents)
	go func() {
		defer close(p.over)
		err := p.pipe.Wait()
		r.End()
		switch {
		case err == nil:
			log.Info("a pipe has ended", "server pipe", p.name)
		case p.dropped.Load():
			log.Info("a pipe was stopped", "server pipe", p.name, "cause", err)
		default:
			log.Error("a pipe has failed", "server pipe", p.name, "cause", err)
			if errors.Is(err, media.ErrFull) {
				r.OnStalled(err) // that is for whoever writes
			}
			r.Fail(err)
		}
		if err == nil || p.dropped.Load() {
			end()
		}
		p.err = errors.Join(err, p.pipe.Close())
	}()
	v.running.Store(p)
	return p, nil
}

// troubleOf tells a client what is wrong. A medium that has failed may be well again, or another, when the client comes
// back; what it had acknowledged is stable, and all else comes once more.
func troubleOf(err error) agent.Trouble {
	return agent.Trouble{Code: remote.Code(err), Message: err.Error(), Again: errors.Is(err, stage.ErrMedium)}
}

// chunksOf lists the chunks of a session and gives the number of the last; 0: it has none. A later session makes it
// void.
func (v *farVolume) chunksOf(ctx context.Context, ordinal uint32) (own []string, last uint32, err error) {
	infos, err := v.medium.List(ctx, media.VolumePrefix(v.origin))
	if err != nil {
		return nil, 0, fmt.Errorf("find the last chunk: %w", err)
	}
	for _, info := range infos {
		_, id, ok := media.ParseChunkName(info.Name)
		switch {
		case !ok || id.Ordinal() < ordinal:
		case id.Ordinal() > ordinal:
			return nil, 0, fmt.Errorf("session %d: %w: %d", ordinal, errVoid, id.Ordinal())
		default:
			last = max(last, id.Number())
			own = append(own, info.Name)
		}
	}
	return own, last, nil
}

// continues says behind which chunk the session goes on. Of a session that has acknowledged nothing no chunk counts,
// and they are removed, so that its header comes first. An append-only client's word is not enough for that: what there
// is but the header stays, and is there twice if it comes once more.
func (v *farVolume) continues(ctx context.Context, c channel.Client, a agent.Attach, session chunkfmt.SessionID) (last uint32, err error) {
	own, last, err := v.chunksOf(ctx, a.Ordinal)
	if err != nil {
		return 0, err
	}
	for _, name := range own {
		if err := v.belongs(ctx, name, session); err != nil {
			return 0, err
		}
	}
	if a.Acked.Ordinal() == a.Ordinal || c.AppendOnly && v.begun(a.Ordinal) {
		return last, nil
	}
	for _, name := range own {
		if err := v.medium.Remove(ctx, name); err != nil {
			return 0, fmt.Errorf("remove what a session left that had not begun: %w", err)
		}
	}
	if len(own) > 0 {
		if err := v.catalog.Refresh(ctx); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// begun says whether a session has anything but its header, which is stable before that is stored.
func (v *farVolume) begun(ordinal uint32) bool {
	return slices.ContainsFunc(v.catalog.Chunks(), func(c media.Chunk) bool {
		return c.Last.Ordinal() == ordinal && c.Last.Number() > 1
	})
}

// belongs compares the session in a chunk's header. What has no header yet belongs to nobody else.
func (v *farVolume) belongs(ctx context.Context, name string, session chunkfmt.SessionID) error {
	of, ok, err := v.sessionOf(ctx, name)
	if err == nil && ok && of != session {
		err = fmt.Errorf("%s: %w", name, errVoid)
	}
	return err
}

// sessionOf reads in a chunk's header which session's it is. What can't be read is not what counts.
func (v *farVolume) sessionOf(ctx context.Context, name string) (_ chunkfmt.SessionID, ok bool, err error) {
	var b [chunkfmt.ChunkHeaderSize]byte
	n, err := v.medium.ReadAt(ctx, name, b[:], 0)
	if err != nil && err != io.EOF {
		return chunkfmt.SessionID{}, false, fmt.Errorf("find whose chunk it is: %w", err)
	}
	if n < len(b) {
		return chunkfmt.SessionID{}, false, nil
	}
	h, err := chunkfmt.ParseChunkHeader(b[:])
	return h.Session, err == nil, nil
}

func (p *farPipe) hasEnded() bool {
	select {
	case <-p.over:
		return true
	case <-p.pipe.Done():
		<-p.over
		return true
	default:
		return false
	}
}

// drop stops a pipe, if there is one, and waits for its end. mu is held.
func (v *farVolume) drop(p *farPipe, why error) {
	if p == nil {
		return
	}
	p.dropped.Store(true)
	p.pipe.Abort(why)
	<-p.over
	p.cut()
	v.running.CompareAndSwap(p, nil)
}

// lookAfter stops the pipe of a client that was revoked, or has not been heard of for longer than its lease.
func (v *farVolume) lookAfter() {
	p := v.current()
	if p == nil {
		return
	}
	silent := p.receiver.Silence()
	v.lease.hear(v.d.o.Clock().Add(-silent))
	_, err := v.d.o.Registry.Client(p.client)
	if !errors.Is(err, channel.ErrRefused) && silent < v.d.o.LeaseTime {
		return
	}
	if err == nil {
		err = fmt.Errorf("%s was not heard of for %v", p.clientName, silent.Round(1e9))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop(p, err)
}

func (v *farVolume) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop(v.current(), errors.New("the server is ending"))
	v.stopCleaning()
	if v.handler == nil {
		return nil
	}
	v.handler = nil
	return errors.Join(v.catalog.Close(), v.unlock())
}
