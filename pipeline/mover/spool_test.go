package mover

import (
	"bufio"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/dir"
	"coffer/media/remote"
	"coffer/media/spool"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
	"coffer/pipeline/stage"
	"coffer/test/rig"
)

// gate is a way that can be shut.
type gate struct {
	agent.Way
	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for _, c := range g.conns {
			c.Close()
		}
		g.conns = nil
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

func (g *gate) Call(ctx context.Context, method, path string, in, out any) error {
	if g.isShut() {
		return errBroken
	}
	return g.Way.Call(ctx, method, path, in, out)
}

func (g *gate) Upgrade(ctx context.Context, path string) (net.Conn, *bufio.Reader, error) {
	if g.isShut() {
		return nil, nil, errBroken
	}
	conn, in, err := g.Way.Upgrade(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil, nil, errors.Join(errBroken, conn.Close())
	}
	g.conns = append(g.conns, conn)
	return conn, in, nil
}

// spooled puts a spool in dir in front of o's server.
func spooled(t *testing.T, o Options, path string, limit int64) Options {
	t.Helper()
	m, err := dir.Open(path, dir.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	keys := chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)
	near, err := spool.OpenNear(t.Context(), m, keys.ID, limit)
	if err != nil {
		t.Fatal(err)
	}
	o.Spool = &Spool{Near: near, CatalogPath: filepath.Join(path, "catalog")}
	return o
}

func mustOpen(t *testing.T, o Options) *writing {
	t.Helper()
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return &writing{t: t, s: s}
}

// drain waits until all is on the server.
func (w *writing) drain() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.s.Forwarder().Await(ctx, w.s.Writer().Acked()); err != nil {
		w.t.Fatalf("moving the spool on: %v; %+v", err, w.s.Forwarder().Status())
	}
}

// wantGroups reads every group that the index knows.
func (w *writing) wantGroups(least int) {
	w.t.Helper()
	groups := w.groups()
	if len(groups) < least {
		w.t.Errorf("%d groups, want %d", len(groups), least)
	}
	for _, seq := range groups {
		if err := w.s.Groups().ReadAt(w.t.Context(), seq, make([]byte, 1), 0); err != nil {
			w.t.Errorf("group %v: %v", seq, err)
		}
	}
}

func (o Options) spoolUsed() int64 {
	usage, _ := o.Spool.Near.Usage()
	return usage.Used
}

// TestSpool: what is written while the server is away is stable in the spool and read from there, over sessions that end
// and that crash; when the server is back it goes there, in order, and the spool is empty.
func TestSpool(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	g := d.client
	state, path := filepath.Join(t.TempDir(), "state"), t.TempDir()
	g.rename(t, d, g.far(t, d, state, nil))
	way := &gate{Way: g.link, shut: true}
	open := func() (*writing, Options) {
		o := spooled(t, g.far(t, d, state, nil), path, 64<<20)
		o.Far.Way = way
		return mustOpen(t, o), o
	}
	other := func(want map[string]string, least int) {
		t.Helper()
		w := mustOpen(t, g.far(t, d, filepath.Join(t.TempDir(), "other"), nil))
		w.want(want)
		w.wantGroups(least)
		w.crash()
	}
	w, o := open()
	w.put("a", "1")
	w.put("b", "1")
	w.wantGroups(2)
	if w.s.Forwarder().Remote() != 0 || o.spoolUsed() == 0 {
		t.Errorf("with the server away: %+v", w.s.Forwarder().Status())
	}
	w.crash()
	w, _ = open()
	w.want(map[string]string{"a": "1", "b": "1"})
	w.put("a", "2")
	w.end()
	w, _ = open()
	want := map[string]string{"a": "2", "b": "1"}
	w.want(want)
	w.put("c", "3")
	want["c"] = "3"
	if pending := w.s.Forwarder().Pending(); pending < 1000 {
		t.Errorf("%d bytes are pending", pending)
	}
	way.set(false)
	w.drain()
	if pending := w.s.Forwarder().Pending(); pending != 0 {
		t.Errorf("%d bytes are pending when all is there", pending)
	}
	w.wantGroups(4)
	w.put("d", "4") // goes there while the session lasts
	want["d"] = "4"
	w.drain()
	way.set(true)
	w.put("e", "5")
	w.end()
	w, o = open()
	want["e"] = "5"
	w.want(want)
	way.set(false)
	w.drain()
	w.wantGroups(5)
	o.Spool.Linger = time.Minute
	w.end()
	if used := o.spoolUsed(); used != 0 {
		t.Errorf("%d bytes are left in the spool", used)
	}
	other(want, 5)
	// Without a spool it goes on.
	w = mustOpen(t, g.far(t, d, state, nil))
	w.want(want)
	w.put("f", "6")
	want["f"] = "6"
	w.end()
	other(want, 6)
}

// TestSpoolOnABrittleWay writes sessions to a spool while connections break all the time and the server drops its half of
// pipes, ends and crashes them at random, and finds all of it on another machine.
func TestSpoolOnABrittleWay(t *testing.T) {
	t.Parallel()
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	d := newDoors(t)
	g := d.client
	state, path := filepath.Join(t.TempDir(), "state"), t.TempDir()
	g.rename(t, d, g.far(t, d, state, nil))
	want := map[string]string{}
	for session := range 4 {
		brittle := rand.New(rand.NewPCG(rng.Uint64(), 0))
		o := spooled(t, g.far(t, d, state, brittle), path, 16<<20)
		w := mustOpen(t, o)
		w.want(want)
		stop := make(chan struct{})
		var dropping sync.WaitGroup
		dropping.Go(func() { d.dropNowAndThen(stop, rand.New(rand.NewPCG(uint64(seed), uint64(session)))) })
		for i := range 1 + rng.IntN(8) {
			key, value := string(rune('a'+rng.IntN(6))), fmt.Sprint(session, i)
			data := make([]byte, rng.IntN(600<<10))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			w.cut(stage.MarkCut, key, value, data)
			want[key] = value
		}
		last := session == 3
		if last || rng.IntN(3) == 0 {
			w.drain()
		}
		close(stop)
		dropping.Wait()
		w.want(want)
		w.wantGroups(1)
		t.Logf("%+v", w.s.Forwarder().Status())
		switch {
		case last:
			o.Spool.Linger = time.Minute
			w.end()
			if used := o.spoolUsed(); used != 0 {
				t.Errorf("%d bytes are left in the spool", used)
			}
		case rng.IntN(2) == 0:
			w.crash()
		default:
			w.end()
		}
	}
	w := mustOpen(t, g.far(t, d, filepath.Join(t.TempDir(), "other"), nil))
	w.want(want)
	w.wantGroups(4)
	w.end()
}

// TestSpoolFull: a writer waits when the spool is full, and goes on when the server takes what is in it.
func TestSpoolFull(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	g := d.client
	state := filepath.Join(t.TempDir(), "state")
	g.rename(t, d, g.far(t, d, state, nil))
	way := &gate{Way: g.link, shut: true}
	o := spooled(t, g.far(t, d, state, nil), t.TempDir(), 16<<20)
	o.Far.Way = way
	w := mustOpen(t, o)
	const blocks = 48 // more than the spool and the buffers in front of it hold
	written := make(chan error, 1)
	go func() {
		for range blocks {
			b := make([]byte, 900<<10)
			cryptorand.Read(b)
			var stream stage.Stream
			slot, err := w.s.Collector().Begin(t.Context(), &stream, 0, len(b))
			if err != nil {
				written <- err
				return
			}
			slot.Write(b)
			slot.Release()
			w.s.Collector().Finish(&stream)
		}
		written <- nil
	}()
	for {
		usage, changed := o.Spool.Near.Usage()
		if usage.Waiting {
			if usage.Used > usage.Limit || usage.Used < usage.Limit/2 {
				t.Errorf("a writer waits at %+v", usage)
			}
			break
		}
		select {
		case <-changed:
		case err := <-written:
			t.Fatalf("%d blocks went into a spool of %d bytes: %v", blocks, usage.Limit, err)
		case <-time.After(time.Minute):
			t.Fatalf("the writer does not wait: %+v", usage)
		}
	}
	way.set(false)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	w.put("a", "1")
	w.drain()
	w.wantGroups(1)
	o.Spool.Linger = time.Minute
	w.end()
	w = mustOpen(t, g.far(t, d, filepath.Join(t.TempDir(), "other"), nil))
	w.want(map[string]string{"a": "1"})
	w.wantGroups(1)
	w.end()
}

// lateWay never hears an acknowledgement, and keeps the second request for a pipe on its way.
type lateWay struct {
	*channel.Link
	mu       sync.Mutex
	requests int
	held     *agent.Attach
}

func (l *lateWay) Call(ctx context.Context, method, path string, in, out any) error {
	a, ok := in.(agent.Attach)
	l.mu.Lock()
	if ok {
		l.requests++
	}
	first := l.requests == 1
	if ok && !first {
		l.held = &a
	}
	l.mu.Unlock()
	if ok && !first {
		return errBroken
	}
	return l.Link.Call(ctx, method, path, in, out)
}

func (l *lateWay) Upgrade(ctx context.Context, path string) (net.Conn, *bufio.Reader, error) {
	conn, in, err := l.Link.Upgrade(ctx, path)
	if err != nil || filepath.Base(path) != "acks" {
		return conn, in, err
	}
	return conn, bufio.NewReader(iotest.ErrReader(errBroken)), nil
}

func (l *lateWay) late() *agent.Attach {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// earlier delivers another machine's request before its own first one.
type earlier struct {
	*channel.Link
	t       *testing.T
	request *agent.Attach
}

func (e *earlier) Call(ctx context.Context, method, path string, in, out any) error {
	if _, ok := in.(agent.Attach); ok && e.request != nil {
		var reply agent.Attached
		if err := e.Link.Call(ctx, method, path, e.request, &reply); err != nil {
			e.t.Errorf("the late request: %v", err)
		}
		e.request = nil
	}
	return e.Link.Call(ctx, method, path, in, out)
}

// TestSpoolAfterALateRequest: a process has ended that did not hear what was acknowledged, and its last request for a pipe
// comes to the server after the next process has looked at what is there. The server begins the session anew for it; the
// next process must not go on behind what is there no more.
func TestSpoolAfterALateRequest(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	g := d.client
	state, path := filepath.Join(t.TempDir(), "state"), t.TempDir()
	g.rename(t, d, g.far(t, d, state, nil))
	o := spooled(t, g.far(t, d, state, nil), path, 16<<20)
	deaf := &lateWay{Link: g.link}
	o.Far.Way = deaf
	w := mustOpen(t, o)
	w.put("a", "1")
	w.put("b", "2")
	for deadline := time.Now().Add(time.Minute); ; {
		pipes := d.pipes()
		if len(pipes) > 0 && pipes[0].current() != nil && pipes[0].current().intake.Acked() == w.s.Writer().Acked() && deaf.late() != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not acknowledge")
		}
		<-time.After(10 * time.Millisecond)
	}
	w.crash()
	o = spooled(t, g.far(t, d, state, nil), path, 16<<20)
	o.Far.Way = &earlier{Link: g.link, t: t, request: deaf.late()}
	o.Spool.Linger = time.Minute
	w = mustOpen(t, o)
	w.put("c", "3")
	w.drain()
	w.end()
	w = mustOpen(t, g.far(t, d, filepath.Join(t.TempDir(), "other"), nil))
	w.want(map[string]string{"a": "1", "b": "2", "c": "3"})
	w.wantGroups(3)
	w.end()
}

// TestBranch: a machine takes the volume over while another one has something in its spool that the server does not have.
// When that one comes back, what it had becomes a branch with all that it saw, once, and it goes on with the volume as the
// other machine has it.
func TestBranch(t *testing.T) {
	t.Parallel()
	for _, more := range []bool{false, true} {
		t.Run(fmt.Sprintf("more sessions %v", more), func(t *testing.T) {
			t.Parallel()
			d := newDoors(t)
			id, first, second := d.sharers()
			way, open := first.behindSpool(t, d, id)
			w := mustOpen(t, open())
			w.put("a", "1")
			w.put("b", "1")
			w.drain()
			way.set(true)
			w.put("a", "2") // only in the spool
			w.put("c", "2")
			if more {
				w.crash()
				w = mustOpen(t, open())
				w.put("d", "3")
			}
			w.crash()

			theirs := second.far(t, d, t.TempDir(), nil)
			d.setNow(d.time().Add(time.Hour))
			if _, err := OpenSource(t.Context(), starter{}, theirs); !errors.Is(err, media.ErrLocked) {
				t.Fatalf("another machine while the spool is not empty: %v", err)
			}
			theirs.Medium = second.at(id, false, true)
			w = mustOpen(t, theirs)
			w.want(map[string]string{"a": "1", "b": "1"})
			w.put("b", "theirs")
			w.put("e", "theirs")

			way.set(false)
			// The branch is made although the volume itself is the other machine's.
			_, err := OpenSource(t.Context(), starter{}, open())
			if !errors.Is(err, media.ErrLocked) || !strings.Contains(err.Error(), "main.branch-") {
				t.Fatalf("the first machine while the other one writes: %v", err)
			}
			w.end()
			o := open()
			w = mustOpen(t, o)
			w.want(map[string]string{"a": "1", "b": "theirs", "e": "theirs"})
			if w.s.Branch() != "" || o.spoolUsed() > 1000 {
				t.Errorf("branch %q once more; the spool has %d bytes", w.s.Branch(), o.spoolUsed())
			}
			w.put("f", "mine")
			o.Spool.Linger = time.Minute
			w.end()

			name := regexp.MustCompile(`main\.branch-[0-9a-f]+`).FindString(err.Error())
			want := map[string]string{"a": "2", "b": "1", "c": "2"}
			if more {
				want["d"] = "3"
			}
			for _, g := range []*guest{first, second} {
				o := g.far(t, d, t.TempDir(), nil)
				o.Volume = name
				_, place := Keys(o.Master, o.Store, name)
				o.Medium = g.at(place, false, false)
				o.Far.Locator = o.Medium.(stage.Locator)
				w := mustOpen(t, o)
				w.want(want)
				w.wantGroups(3)
				w.put("e", "goes on")
				want["e"] = "goes on"
				w.end()
			}
		})
	}
}

// TestSpoolOfARevokedMachine: nobody waits for what a machine that was shut out has in its spool, or for its lease to
// end. Should it be let in again, what it had becomes a branch.
func TestSpoolOfARevokedMachine(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	id, first, second := d.sharers()
	way, open := first.behindSpool(t, d, id)
	w := mustOpen(t, open())
	w.put("a", "1")
	w.drain()
	way.set(true)
	w.put("a", "2") // only in the spool
	w.crash()

	theirs := second.far(t, d, t.TempDir(), nil)
	if _, err := OpenSource(t.Context(), starter{}, theirs); !errors.Is(err, media.ErrLocked) {
		t.Fatalf("another machine while the first one is let in: %v", err)
	}
	rig.Must(t, d.registry.Revoke("first"))
	w = mustOpen(t, theirs)
	w.want(map[string]string{"a": "1"})
	w.put("a", "theirs")
	w.end()

	way.set(false)
	if _, err := OpenSource(t.Context(), starter{}, open()); err == nil || !strings.Contains(err.Error(), "does not let this machine in") {
		t.Fatalf("the machine that was shut out: %v", err)
	}
	secret, err := d.registry.Invite("first", channel.Rights{With: []string{"second"}}, d.time().Add(time.Hour))
	rig.Must(t, err)
	rig.Must(t, first.link.Enroll(t.Context(), secret))
	o := open()
	w = mustOpen(t, o)
	if w.s.Branch() == "" {
		t.Error("what was in the spool is no branch")
	}
	w.want(map[string]string{"a": "theirs"})
	o.Spool.Linger = time.Minute
	w.end()
}

// behindSpool gives what opens the volume with a spool of the guest's, the same each time, and the way from there.
func (g *guest) behindSpool(t *testing.T, d *doors, id chunkfmt.VolumeID) (way *gate, open func() Options) {
	state, path := filepath.Join(t.TempDir(), "state"), t.TempDir()
	way = &gate{Way: g.link}
	return way, func() Options {
		o := spooled(t, g.far(t, d, state, nil), path, 16<<20)
		o.Far.Way = way
		o.Medium = g.at(id, true, false)
		return o
	}
}

// at is the guest's medium for a volume.
func (g *guest) at(place chunkfmt.VolumeID, keep, takeOver bool) *remote.Medium {
	return remote.New(remote.Config{
		Client: g.link.HTTP(), Base: g.link.Base() + "/v1/volumes/" + place.String(), Keep: keep, TakeOver: takeOver,
	})
}

// TestSpoolThatIsThere: a machine takes the volume over when all that the other one had in its spool was on the server
// already, but the other one did not know. Nothing is branched.
func TestSpoolThatIsThere(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	id, first, second := d.sharers()
	state, path := filepath.Join(t.TempDir(), "state"), t.TempDir()
	o := spooled(t, first.far(t, d, state, nil), path, 16<<20)
	deaf := &lateWay{Link: first.link}
	o.Far.Way = deaf
	w := mustOpen(t, o)
	w.put("a", "1")
	for deadline := time.Now().Add(time.Minute); ; {
		pipes := d.pipes()
		if len(pipes) > 0 && pipes[0].current() != nil && pipes[0].current().intake.Acked() == w.s.Writer().Acked() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not acknowledge")
		}
		<-time.After(10 * time.Millisecond)
	}
	w.crash()
	theirs := second.far(t, d, t.TempDir(), nil)
	theirs.Medium = second.at(id, false, true)
	w = mustOpen(t, theirs)
	w.put("b", "theirs")
	w.end()
	o = spooled(t, first.far(t, d, state, nil), path, 16<<20)
	w = mustOpen(t, o)
	w.want(map[string]string{"a": "1", "b": "theirs"})
	if w.s.Branch() != "" {
		t.Errorf("branch %q of what was there", w.s.Branch())
	}
	w.put("c", "mine")
	o.Spool.Linger = time.Minute
	w.end()
}

// TestSpoolPrune: nothing is taken off the server's medium before the log there says so, and has what was moved.
func TestSpoolPrune(t *testing.T) {
	t.Parallel()
	f := newFarRig(t, channel.Rights{})
	way := &gate{Way: f.g.link}
	path := t.TempDir()
	open := func() *writing {
		o := spooled(t, f.g.far(t, f.doors, f.state, nil), path, 64<<20)
		o.Far.Way, o.Spool.Linger = way, time.Minute
		return mustOpen(t, o)
	}
	w := open()
	a := newSmalls(1, 2, 40)
	w.write(a)
	w.end()
	w = open()
	w.s.o.Far.Removals = orderly{f.g.medium, w}
	way.set(true)
	w.thin(a, 4)
	var pruned Pruned
	ended := make(chan error, 1)
	go func() {
		var err error
		pruned, err = w.s.Prune(t.Context(), w)
		ended <- err
	}()
	for !w.s.Unclean() {
		select {
		case err := <-ended:
			t.Fatalf("with the server away: %+v, %v", pruned, err)
		case <-time.After(time.Millisecond): // nobody tells of it
		}
	}
	way.set(false)
	if err := <-ended; err != nil || pruned.Moved != 1 || pruned.Chunks != 1 {
		t.Errorf("%+v, %v", pruned, err)
	}
	w.wantSmalls(a)
	w.end()
	w = mustOpen(t, f.g.far(t, f.doors, t.TempDir(), nil))
	w.wantSmalls(a)
	w.end()
}

// orderly wants all that the index has to be on the server when something is to be removed there.
type orderly struct {
	GroupRemover
	w *writing
}

func (o orderly) RemoveGroups(ctx context.Context, list io.ReaderAt, size int64, dryRun bool) (remote.Removal, error) {
	if there, head := o.w.s.Forwarder().Remote(), o.w.s.index.Head().Seq; there < head {
		o.w.t.Errorf("groups are to be removed when the server has all up to %v, of %v", there, head)
	}
	return o.GroupRemover.RemoveGroups(ctx, list, size, dryRun)
}
