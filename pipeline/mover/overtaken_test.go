package mover

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
)

// TestBegunTwice: a server drops its half of a pipe when the session header is stored and before the client knows. The
// session begins once more.
func TestBegunTwice(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	g := d.client
	o := g.far(t, d, t.TempDir(), nil)
	g.rename(t, d, o)
	o = g.far(t, d, t.TempDir(), nil)
	o.Far.Way = &deaf{Link: g.link, d: d}
	s, err := OpenSource(t.Context(), starter{}, o)
	if err != nil {
		t.Fatal(err)
	}
	w := &writing{t: t, s: s}
	w.put("a", "1")
	w.end()
	infos, err := g.medium.List(t.Context(), media.VolumePrefix(s.keys.ID))
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if _, id, _ := media.ParseChunkName(info.Name); id.Number() != 1 || info.Size == 0 {
			t.Errorf("%s of %d bytes", info.Name, info.Size)
		}
	}
	if s, err = OpenSource(t.Context(), starter{}, g.far(t, d, t.TempDir(), nil)); err != nil {
		t.Fatal(err)
	}
	w = &writing{t: t, s: s}
	w.want(map[string]string{"a": "1"})
	w.end()
}

// deaf loses the first acknowledgement, and the server's half of the pipe with it.
type deaf struct {
	*channel.Link
	d    *doors
	lost atomic.Bool
}

func (w *deaf) Upgrade(ctx context.Context, path string) (net.Conn, *bufio.Reader, error) {
	conn, in, err := w.Link.Upgrade(ctx, path)
	if err != nil || filepath.Base(path) != "acks" {
		return conn, in, err
	}
	return conn, bufio.NewReader(&losing{in, w}), nil
}

type losing struct {
	in *bufio.Reader
	w  *deaf
}

func (l *losing) Read(b []byte) (int, error) {
	n, err := l.in.Read(b)
	if err != nil || l.w.lost.Load() {
		return n, err
	}
	for _, v := range l.w.d.pipes() {
		if p := v.current(); p != nil && p.intake.Acked() != 0 {
			l.w.lost.Store(true)
			v.mu.Lock()
			v.drop(p, errBroken)
			v.mu.Unlock()
			return 0, errBroken
		}
	}
	return n, err
}

// TestOvertaken: a request for a pipe that was held up on its way, and comes after later ones, knows nothing of what was
// acknowledged since. It must not have that removed.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"dropped", "ended"} {
		t.Run(when, func(t *testing.T) {
			d := newDoors(t)
			g := d.client
			o := g.far(t, d, t.TempDir(), nil)
			g.rename(t, d, o)
			o = g.far(t, d, t.TempDir(), nil)
			way := &recording{Link: g.link}
			o.Far.Way = way
			s, err := OpenSource(t.Context(), starter{}, o)
			if err != nil {
				t.Fatal(err)
			}
			w := &writing{t: t, s: s}
			w.put("a", "1")
			again := func() {
				t.Helper()
				var reply agent.Attached
				if err := g.link.Call(t.Context(), http.MethodPost, agent.Pipes, way.first.Load(), &reply); err == nil {
					t.Errorf("a request that was overtaken is answered with %+v", reply)
				}
			}
			want := map[string]string{"a": "1"}
			if when == "dropped" {
				for _, v := range d.pipes() {
					v.mu.Lock()
					v.drop(v.current(), errBroken)
					v.mu.Unlock()
				}
				again()
				w.put("b", "2")
				want["b"] = "2"
			}
			w.end()
			again()
			if s, err = OpenSource(t.Context(), starter{}, g.far(t, d, t.TempDir(), nil)); err != nil {
				t.Fatal(err)
			}
			w = &writing{t: t, s: s}
			w.want(want)
			w.end()
		})
	}
}

// recording keeps the first request for a pipe.
type recording struct {
	*channel.Link
	first atomic.Pointer[agent.Attach]
}

func (r *recording) Call(ctx context.Context, method, path string, in, out any) error {
	if a, ok := in.(agent.Attach); ok {
		if a.Acked != (chunkfmt.Seq(0)) && r.first.Load() == nil {
			return fmt.Errorf("the first request knows of %v", a.Acked)
		}
		r.first.CompareAndSwap(nil, &a)
	}
	return r.Link.Call(ctx, method, path, in, out)
}
