package mover

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
)

// robbed is an append-only client of which somebody has all keys: it stored two sessions in order, and now wants them
// gone.
type robbed struct {
	*guest
	d    *doors
	keys chunkfmt.VolumeKeys
	want map[string]string
}

func newRobbed(t *testing.T) *robbed {
	t.Helper()
	d := newDoors(t)
	o := d.client.far(t, d, t.TempDir(), nil)
	keys := chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)
	g := d.letVolumeWith("robbed", keys.ID, channel.Rights{AppendOnly: true})
	state := t.TempDir()
	for i, key := range []string{"a", "b"} {
		s, err := OpenSource(t.Context(), starter{}, g.far(t, d, state, nil))
		if err != nil {
			t.Fatal(err)
		}
		w := &writing{t: t, s: s}
		w.put(key, "first")
		w.put(key, "kept")
		w.put("c", key)
		if i == 0 {
			w.end()
		} else {
			w.crash()
		}
	}
	return &robbed{guest: g, d: d, keys: keys, want: map[string]string{"a": "kept", "b": "kept", "c": "b"}}
}

// unharmed opens the volume as a machine does that knows nothing of it, and wants all of it.
func (r *robbed) unharmed(t *testing.T) {
	t.Helper()
	s, err := OpenSource(t.Context(), starter{}, r.far(t, r.d, t.TempDir(), nil))
	if err != nil {
		t.Fatal(err)
	}
	w := &writing{t: t, s: s}
	w.want(r.want)
	w.wantGroups(4)
	w.crash()
}

// chunks are the names and contents of the volume's chunks on the server.
func (r *robbed) chunks(t *testing.T) map[string][]byte {
	t.Helper()
	infos, err := r.medium.List(t.Context(), media.VolumePrefix(r.keys.ID))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, info := range infos {
		b, err := media.ReadAll(t.Context(), r.medium, info.Name, int(info.Size))
		if err != nil {
			t.Fatal(err)
		}
		all[info.Name] = b
	}
	return all
}

// sessionOf reads a session's id, which whoever reads the chunks knows.
func (r *robbed) sessionOf(t *testing.T, ordinal uint32) string {
	t.Helper()
	name := media.ChunkName(r.keys.ID, chunkfmt.MakeChunkID(ordinal, 1, false))
	h, err := chunkfmt.ParseChunkHeader(r.chunks(t)[name])
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Session[:])
}

// TestAppendOnlyNothingRemoved makes all requests that there are with which a client could have something removed or
// changed, and wants every byte that was there to be there.
func TestAppendOnlyNothingRemoved(t *testing.T) {
	t.Parallel()
	r := newRobbed(t)
	before := r.chunks(t)
	// "Nothing of that session was acknowledged": of the last one, then of the one before.
	for _, ordinal := range []uint32{2, 1} {
		for _, acked := range []chunkfmt.Seq{0, chunkfmt.MakeSeq(1, 1), chunkfmt.MakeSeq(3, 7), chunkfmt.MakeSeq(ordinal, 1)} {
			session := r.sessionOf(t, ordinal)
			_ = r.attach(t.Context(), func(a *agent.Attach) {
				a.Ordinal, a.Session, a.Acked = ordinal, session, acked
				a.Pipe = "pipe-" + acked.String()
			})
		}
	}
	for _, name := range []string{"/objects/", "/sync/"} {
		for chunk := range before {
			for _, method := range []string{http.MethodDelete, http.MethodPut, http.MethodPatch, http.MethodPost} {
				if name == "/sync/" && method == http.MethodPost {
					continue // makes it stable
				}
				path := r.link.Base() + "/v1/volumes/" + r.keys.ID.String() + name + chunk
				request, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader("x"))
				if err != nil {
					t.Fatal(err)
				}
				answer, err := r.link.HTTP().Do(request)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode < 400 {
					t.Errorf("%s %s is answered with %s", method, name+chunk, answer.Status)
				}
			}
		}
	}
	after := r.chunks(t)
	for name, b := range before {
		if !bytes.HasPrefix(after[name], b) {
			t.Errorf("%s had %d bytes and has %d, or others", name, len(b), len(after[name]))
		}
	}
	r.unharmed(t)
}

// shortened is a medium on which some chunks end early.
type shortened struct {
	media.Medium
	size func(media.Info) int64
}

func (s *shortened) List(ctx context.Context, prefix string) ([]media.Info, error) {
	infos, err := s.Medium.List(ctx, prefix)
	for i := range infos {
		infos[i].Size = min(infos[i].Size, s.size(infos[i]))
	}
	return infos, err
}

func (s *shortened) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	most := max(0, s.size(media.Info{Name: name, Size: 1 << 40})-off)
	if int64(len(p)) <= most {
		return s.Medium.ReadAt(ctx, name, p, off)
	}
	n, err := s.Medium.ReadAt(ctx, name, p[:most], off)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

// afterFirstBatch is where the first batch of a chunk ends.
func afterFirstBatch(t *testing.T, content []byte) int64 {
	sc := chunkfmt.NewScanner(bytes.NewReader(content), int64(len(content)))
	for {
		e, err := sc.Next()
		if err != nil {
			t.Errorf("a chunk without a batch: %v", err)
			return 0
		}
		if e.Tag.Kind == chunkfmt.KindBatch {
			return e.At + int64(chunkfmt.TagSize+e.Tag.StoredLen())
		}
	}
}

// TestAppendOnlyNothingPassedOver begins sessions that go on from before the end of the log, so that what was
// acknowledged behind there would be void for ever. The server refuses them, without a key.
func TestAppendOnlyNothingPassedOver(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]func(content []byte) int64{
		"the last session": func([]byte) int64 { return 0 },
		"its end":          func(content []byte) int64 { return afterFirstBatch(t, content) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRobbed(t)
			chunks := r.chunks(t)
			o := r.far(t, r.d, t.TempDir(), nil)
			o.Medium = &shortened{o.Medium, func(info media.Info) int64 {
				if _, id, _ := media.ParseChunkName(info.Name); id.Ordinal() == 2 {
					return left(chunks[info.Name])
				}
				return info.Size
			}}
			s, err := OpenSource(t.Context(), starter{}, o)
			if err != nil {
				t.Fatal(err)
			}
			if got, _, err := s.Index().Meta("c"); err != nil || string(got) == "b" {
				t.Fatalf("the session goes on from the end: %q, %v", got, err)
			}
			select {
			case <-s.Pipe().Done():
			case <-time.After(time.Minute):
				s.Pipe().Abort(errors.New("the server lets it in"))
			}
			if err := s.Pipe().Wait(); err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("the session ended with %v", err)
			}
			_ = s.Close() // says so
			r.unharmed(t)
		})
	}
}

// TestAppendOnlyGoesOn: sessions in order are let in, also after crashes, and with a spool.
func TestAppendOnlyGoesOn(t *testing.T) {
	t.Parallel()
	r := newRobbed(t)
	state, path := filepath.Join(t.TempDir(), "state"), t.TempDir()
	for i := range 4 {
		o := r.far(t, r.d, state, nil)
		if i >= 2 {
			o = spooled(t, o, path, 16<<20)
		}
		w := mustOpen(t, o)
		w.want(r.want)
		w.put("d", strings.Repeat("x", i+1))
		r.want["d"] = strings.Repeat("x", i+1)
		if i%2 == 0 {
			w.crash()
		} else {
			w.end()
		}
	}
	o := spooled(t, r.far(t, r.d, state, nil), path, 16<<20)
	w := mustOpen(t, o)
	w.drain()
	w.end()
	r.unharmed(t)
}
