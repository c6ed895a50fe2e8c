package mover

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/faulty"
	"coffer/media/mem"
	"coffer/pipeline/agent"
	"coffer/pipeline/stage"
)

// failing is a session whose server has a medium that fails on demand.
type failing struct {
	t      *testing.T
	medium *faulty.Medium
	o      Options
	s      *Source
}

func newFailing(t *testing.T, timeout time.Duration) *failing {
	t.Helper()
	f := &failing{t: t, medium: faulty.Wrap(mem.New(0), nil)}
	d := newDoorsOn(t, f.medium)
	g := d.client
	f.o = g.far(t, d, filepath.Join(t.TempDir(), "state"), nil)
	g.rename(t, d, f.o)
	f.o.Medium, f.o.Far = g.medium, &Far{Way: g.link, Locator: g.medium, Agents: 2, Timeout: timeout}
	var err error
	if f.s, err = OpenSource(t.Context(), starter{}, f.o); err != nil {
		t.Fatal(err)
	}
	return f
}

// put writes data, and a batch that sets key to value, which the index does not get to know. It returns what whoever waits
// for it is told.
func (f *failing) put(key, value string, data []byte) error {
	f.t.Helper()
	c := f.s.Collector()
	var stream stage.Stream
	slot, err := c.Begin(f.t.Context(), &stream, 0, len(data))
	if err != nil {
		return err
	}
	slot.Write(data)
	slot.Release()
	c.Finish(&stream)
	cut, err := c.Prepare(f.t.Context())
	if err != nil {
		return err
	}
	acked := make(chan error, 1)
	cut.Cut(stage.Marker{
		Kind: stage.MarkCut, Acked: func(err error) { acked <- err },
		Batch: records{{Op: chunkfmt.OpPut, Kind: chunkfmt.RecMeta, Key: chunkfmt.MetaKey(key), Value: []byte(value)}},
	})
	cut.Release()
	return <-acked
}

func (f *failing) mustPut(key, value string) {
	f.t.Helper()
	if err := f.put(key, value, bytes.Repeat([]byte(key), 1000)); err != nil {
		f.t.Fatalf("put %s: %v", key, err)
	}
}

// check ends the session as a killed process would, cuts the power of the server's medium, and looks for what is left as
// somebody who knows nothing of it.
func (f *failing) check(want map[string]string) {
	f.t.Helper()
	(&writing{t: f.t, s: f.s}).crash()
	f.medium.SetRule(nil)
	after, err := f.medium.Crash(f.t.Context(), 1)
	if err != nil {
		f.t.Fatal(err)
	}
	o := f.o
	o.Medium, o.Far, o.StateDir = after, nil, f.t.TempDir()
	s, err := OpenSource(f.t.Context(), starter{}, o)
	if err != nil {
		f.t.Fatal(err)
	}
	w := &writing{t: f.t, s: s}
	w.want(want)
	groups := w.groups()
	if len(groups) == 0 {
		f.t.Error("there are no groups")
	}
	for _, seq := range groups {
		if err := s.Groups().ReadAt(f.t.Context(), seq, make([]byte, 1), 0); err != nil {
			f.t.Errorf("group %v: %v", seq, err)
		}
	}
	w.end()
}

// TestFarMediumFails has the medium of a server fail now and then. The client's session goes on in another chunk, and when
// at last the power is cut, what was acknowledged is there: what a failed sync has lost was sent again.
func TestFarMediumFails(t *testing.T) {
	t.Parallel()
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	var mu sync.Mutex // guards rng
	rng := rand.New(rand.NewPCG(uint64(seed), 0))
	n := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	f := newFailing(t, 0)
	var synced atomic.Bool
	f.medium.SetRule(func(_ context.Context, op faulty.Op, _ string) error {
		// The first sync fails whatever the seed is: without one nothing need be sent again.
		if first := op == faulty.Sync && !synced.Swap(true); !first && n(8) > 0 {
			return nil
		}
		switch op {
		case faulty.Create, faulty.Sync:
			return syscall.EIO
		case faulty.Append:
			return media.ErrTorn
		}
		return nil
	})
	want := map[string]string{}
	for i := range 20 {
		key, value := string(rune('a'+n(6))), strings.Repeat("x", i)
		data := make([]byte, 1+n(100_000))
		for i := range data {
			data[i] = byte(n(256))
		}
		if err := f.put(key, value, data); err != nil {
			t.Fatal(err)
		}
		want[key] = value
	}
	if status := f.s.Sender().Status(); status.Resent == 0 {
		t.Errorf("nothing was sent again: the medium did not fail: %+v", status)
	}
	f.check(want)
}

// TestFarMediumFull: while a server's medium is full, those who wait are told so, also when it shows at a sync; then the
// session goes on.
func TestFarMediumFull(t *testing.T) {
	t.Parallel()
	for _, op := range []faulty.Op{faulty.Create, faulty.Append, faulty.Sync} {
		t.Run(string(op), func(t *testing.T) {
			t.Parallel()
			f := newFailing(t, 0)
			f.mustPut("a", "1")
			f.medium.SetRule(func(_ context.Context, o faulty.Op, _ string) error {
				switch {
				case o == op:
					return media.ErrFull
				case o == faulty.Append && op == faulty.Create:
					return media.ErrTorn // so that another chunk is wanted
				}
				return nil
			})
			if err := f.put("b", "2", []byte("b")); !errors.Is(err, media.ErrFull) {
				t.Errorf("on a full medium: %v", err)
			}
			f.medium.SetRule(nil)
			f.mustPut("c", "3")
			f.check(map[string]string{"a": "1", "b": "2", "c": "3"})
		})
	}
}

// TestFarPatience: the time that a user wants to wait is for a server that does not answer, or does not store, and not for
// one that takes its time. It is one stretch, however often the client tries meanwhile.
func TestFarPatience(t *testing.T) {
	t.Parallel()
	const timeout = 1500 * time.Millisecond
	f := newFailing(t, timeout)
	f.mustPut("a", "1")
	slow := make(chan struct{})
	f.medium.SetRule(func(_ context.Context, op faulty.Op, _ string) error {
		if op == faulty.Sync {
			<-slow
		}
		return nil
	})
	time.AfterFunc(2*timeout, func() { close(slow) })
	f.mustPut("b", "2")
	f.medium.SetRule(faulty.Fail(syscall.EIO, faulty.Sync))
	if err := f.put("c", "3", []byte("c")); !errors.Is(err, agent.ErrAway) {
		t.Errorf("of a server that does not store: %v", err)
	}
	if status := f.s.Sender().Status(); !strings.Contains(status.Cause, "input/output error") {
		t.Errorf("the status does not say why: %+v", status)
	}
	if err := f.put("e", "5", []byte("e")); !errors.Is(err, agent.ErrAway) {
		t.Errorf("whoever comes later: %v", err)
	}
	f.medium.SetRule(nil)
	f.mustPut("d", "4")
	if status := f.s.Sender().Status(); status.Cause != "" || !status.Attached {
		t.Errorf("the server goes on, and the status says %+v", status)
	}
	f.check(map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"})
}
