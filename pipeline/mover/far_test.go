package mover

import (
	"bufio"
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline/channel"
	"coffer/pipeline/stage"
)

// brittle is a way on which connections break after some bytes, and requests fail now and then.
type brittle struct {
	*channel.Link
	mu  sync.Mutex
	rng *rand.Rand

	agents atomic.Int64 // connections of agents that were made
}

var errBroken = errors.New("broken on purpose")

func (b *brittle) n(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rng.IntN(n)
}

func (b *brittle) Call(ctx context.Context, method, path string, in, out any) error {
	if b.n(4) == 0 {
		return errBroken
	}
	err := b.Link.Call(ctx, method, path, in, out)
	if b.n(4) == 0 {
		return errBroken // the answer is lost
	}
	return err
}

func (b *brittle) Upgrade(ctx context.Context, path string) (net.Conn, *bufio.Reader, error) {
	if b.n(4) == 0 {
		return nil, nil, errBroken
	}
	conn, in, err := b.Link.Upgrade(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	if strings.Contains(path, "/agents/") {
		b.agents.Add(1)
	}
	c := &breaking{Conn: conn, left: b.n(3 << 20)}
	if b.n(3) == 0 {
		c.left = b.n(200)
	}
	return c, bufio.NewReader(readerOf{c, in}), nil
}

// breaking breaks after left bytes, in the middle of a write.
type breaking struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *breaking) spend(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.left)
	c.left -= n
	return n
}

func (c *breaking) Write(p []byte) (int, error) {
	n := c.spend(len(p))
	if n < len(p) {
		n, _ = c.Conn.Write(p[:n])
		return n, errors.Join(errBroken, c.Conn.Close())
	}
	return c.Conn.Write(p)
}

type readerOf struct {
	c  *breaking
	in *bufio.Reader
}

func (r readerOf) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if r.c.spend(n) < n {
		return 0, errors.Join(errBroken, r.c.Conn.Close())
	}
	return n, err
}

// far are the options of a guest's machine whose way breaks.
func (g *guest) far(t *testing.T, d *doors, state string, rng *rand.Rand) Options {
	t.Helper()
	p := place{store: t.TempDir(), state: state}
	o := p.options(t)
	o.Store, o.Medium = d.store, g.medium
	way := &brittle{Link: g.link, rng: rng}
	if rng == nil {
		o.Far = &Far{Way: g.link, Locator: g.medium, Agents: 3}
	} else {
		o.Far = &Far{Way: way, Locator: g.medium, Agents: 1 + rng.IntN(4)}
	}
	return o
}

// TestBrittleWay writes sessions over connections that break all the time, to a server that drops its half of the pipe
// besides, and finds all of it again on another machine.
func TestBrittleWay(t *testing.T) {
	t.Parallel()
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	d := newDoors(t)
	g := d.client
	state := filepath.Join(t.TempDir(), "state")
	o := g.far(t, d, state, rng)
	g.rename(t, d, o)
	want := map[string]string{}
	var groups []chunkfmt.Seq
	for session := range 2 {
		o := g.far(t, d, state, rand.New(rand.NewPCG(rng.Uint64(), 0)))
		s, err := OpenSource(t.Context(), starter{}, o)
		if err != nil {
			t.Fatal(err)
		}
		w := &writing{t: t, s: s}
		w.want(want)
		stop := make(chan struct{})
		var dropping sync.WaitGroup
		dropping.Go(func() { d.dropNowAndThen(stop, rand.New(rand.NewPCG(uint64(seed), uint64(session)))) })
		for i := range 10 {
			key, value := string(rune('a'+rng.IntN(6))), fmt.Sprint(session, i)
			data := make([]byte, rng.IntN(1<<20))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			w.cut(stage.MarkCut, key, value, data)
			want[key] = value
		}
		close(stop)
		dropping.Wait()
		w.want(want)
		if rng.IntN(2) == 0 {
			w.crash()
		} else {
			w.end()
		}
		// Whatever breaks, no more is sent again than was under way: on each connection but an agent's first at most that.
		status := s.Sender().Status()
		if most := max(0, o.Far.Way.(*brittle).agents.Load()-1) * status.MostUnderWay; status.Resent > most {
			t.Errorf("%d bytes were sent again, of at most %d", status.Resent, most)
		}
		t.Logf("%+v", status)
	}
	// Another machine: no state, and a way that holds.
	s, err := OpenSource(t.Context(), starter{}, g.far(t, d, filepath.Join(t.TempDir(), "other"), nil))
	if err != nil {
		t.Fatal(err)
	}
	w := &writing{t: t, s: s}
	w.want(want)
	groups = w.groups()
	if len(groups) < 10 {
		t.Errorf("%d groups", len(groups))
	}
	for _, seq := range groups {
		if err := s.Groups().ReadAt(t.Context(), seq, make([]byte, 1), 0); err != nil {
			t.Errorf("group %v: %v", seq, err)
		}
	}
	w.end()
}

// rename makes the guest's medium that of the volume that the options derive.
func (g *guest) rename(t *testing.T, d *doors, o Options) {
	t.Helper()
	keys := chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)
	*g = *d.letVolume("writer", keys.ID)
}

// dropNowAndThen drops the server's half of the pipe, as a server does that starts again.
func (d *doors) dropNowAndThen(stop <-chan struct{}, rng *rand.Rand) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(2000)) * time.Millisecond):
		}
		for _, v := range d.pipes() {
			v.mu.Lock()
			v.drop(v.current(), errBroken)
			v.mu.Unlock()
		}
	}
}

// pipes are the server's halves.
func (d *doors) pipes() (all []*farVolume) {
	d.to.mu.Lock()
	defer d.to.mu.Unlock()
	for _, v := range d.to.volumes {
		all = append(all, v)
	}
	return all
}

// sharers lets two machines in, first and second, that share the volume that far opens.
func (d *doors) sharers() (id chunkfmt.VolumeID, first, second *guest) {
	o := d.client.far(d.t, d, d.t.TempDir(), nil)
	id = chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume).ID
	return id, d.letVolume("first", id), d.letVolume("second", id, "first")
}

// TestLease: one client writes at a time; the same one takes its own back at once; another one waits for the end
// of the lease. A session that another has followed gets nothing more in.
func TestLease(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	_, first, second := d.sharers()
	stateOfFirst := t.TempDir()

	s, err := OpenSource(t.Context(), starter{}, first.far(t, d, stateOfFirst, nil))
	if err != nil {
		t.Fatal(err)
	}
	w := &writing{t: t, s: s}
	w.put("a", "1")
	_, err = OpenSource(t.Context(), starter{}, second.far(t, d, t.TempDir(), nil))
	if !errors.Is(err, media.ErrLocked) || !bytes.Contains([]byte(err.Error()), []byte("first")) {
		t.Fatalf("a second writer: %v", err)
	}
	_, err = OpenSource(t.Context(), starter{}, first.far(t, d, stateOfFirst, nil))
	if !errors.Is(err, media.ErrLocked) {
		t.Fatalf("a second process of the same machine: %v", err)
	}
	w.crash()
	s, err = OpenSource(t.Context(), starter{}, first.far(t, d, stateOfFirst, nil))
	if err != nil {
		t.Fatalf("the same machine after a crash: %v", err)
	}
	w = &writing{t: t, s: s}
	w.put("b", "2")
	d.setNow(d.time().Add(time.Hour)) // first was not heard of since
	s2, err := OpenSource(t.Context(), starter{}, second.far(t, d, t.TempDir(), nil))
	if err != nil {
		t.Fatalf("another machine after the lease has ended: %v", err)
	}
	w2 := &writing{t: t, s: s2}
	w2.want(map[string]string{"a": "1", "b": "2"})
	w2.put("c", "3")
	if err := s.Pipe().Wait(); err == nil {
		t.Error("the session that was followed by another goes on")
	}
	_ = s.Close() // says so
	w2.end()
}

// TestQuota: a client that has used up its quota is told that the medium is full, and what it has is there.
func TestQuota(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	o := d.client.far(t, d, t.TempDir(), nil)
	keys := chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)
	g := d.letVolumeWith("small", keys.ID, channel.Rights{Quota: 2 << 20})
	state := t.TempDir()
	s, err := OpenSource(t.Context(), starter{}, g.far(t, d, state, nil))
	if err != nil {
		t.Fatal(err)
	}
	w := &writing{t: t, s: s}
	noise := func() []byte {
		b := make([]byte, 900<<10)
		cryptorand.Read(b)
		return b
	}
	w.cut(stage.MarkCut, "a", "1", noise())
	var stream stage.Stream
	full := false
	for range 8 {
		b := noise()
		slot, err := s.Collector().Begin(t.Context(), &stream, 0, len(b))
		if errors.Is(err, media.ErrFull) {
			full = true
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		slot.Write(b)
		slot.Release()
		s.Collector().Finish(&stream)
	}
	if !full {
		t.Error("eight megabytes went into two")
	}
	space, err := g.medium.Space(t.Context())
	if err != nil || space.Total != 2<<20 {
		t.Errorf("space %+v, %v", space, err)
	}
	w.crash()
	s, err = OpenSource(t.Context(), starter{}, g.far(t, d, state, nil))
	if err != nil {
		t.Fatal(err)
	}
	w = &writing{t: t, s: s}
	w.want(map[string]string{"a": "1"})
	w.crash()
}
