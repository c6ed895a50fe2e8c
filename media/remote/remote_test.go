package remote_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/conformance"
	"coffer/media/faulty"
	"coffer/media/mem"
	"coffer/media/remote"
)

var volume = chunkfmt.VolumeID{7}

func chunkName(n uint32) string { return media.ChunkName(volume, chunkfmt.MakeChunkID(1, n, false)) }

// server serves one volume of a medium, and counts the requests; down has it break connections off instead.
type server struct {
	*httptest.Server
	lease lease
	asked atomic.Int64
	down  atomic.Bool
}

// lease is the simplest there can be.
type lease struct {
	mu   sync.Mutex
	held remote.Lease
}

func (l *lease) take(_ *http.Request, want remote.Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held.Holder != "" && !want.TakeOver {
		return &media.LockedError{Name: "of the volume", Holder: l.held.Holder}
	}
	l.held = want
	return nil
}

func (l *lease) release(*http.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = remote.Lease{}
	return nil
}

func serve(t testing.TB, m media.Medium) *server {
	t.Helper()
	s := &server{}
	handler := remote.Handler(remote.Volume{
		ID: volume, Medium: m,
		Places: func(seq chunkfmt.Seq) ([]chunkfmt.Location, error) {
			if seq != 5 {
				return nil, fmt.Errorf("look up %v: %w", seq, media.ErrNoTag)
			}
			return []chunkfmt.Location{{Chunk: 3, Offset: 4, Length: 5}}, nil
		},
		Space: func(r *http.Request) (media.Space, error) { return m.(media.Spacer).Space(r.Context()) },
		Lease: s.lease.take, Release: s.lease.release,
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if s.down.Load() {
			panic(http.ErrAbortHandler) // the connection breaks
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) medium(timeout time.Duration) *remote.Medium {
	return remote.New(remote.Config{Client: s.Client(), Base: s.URL, Timeout: timeout})
}

// through writes to a medium and reads it through a server. Of names a server knows those of chunks only, so each object
// is a chunk here.
type through struct {
	media.Medium // where is written
	far          *remote.Medium

	mu    sync.Mutex // guards names
	names []string   // of the chunks, from number 1 on
}

func (m *through) chunk(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.Index(m.names, name)
	if i < 0 {
		i = len(m.names)
		m.names = append(m.names, name)
	}
	return chunkName(uint32(i + 1))
}

func (m *through) Create(ctx context.Context, name string) (media.Appender, error) {
	if err := media.CheckName(name); err != nil {
		return nil, err
	}
	return m.Medium.Create(ctx, m.chunk(name))
}

func (m *through) Put(ctx context.Context, name string, data []byte) error {
	if err := media.CheckName(name); err != nil {
		return err
	}
	return m.Medium.Put(ctx, m.chunk(name), data)
}

func (m *through) Remove(ctx context.Context, name string) error {
	if err := media.CheckName(name); err != nil {
		return err
	}
	return m.Medium.Remove(ctx, m.chunk(name))
}

func (m *through) ReadAt(ctx context.Context, name string, p []byte, off int64) (int, error) {
	if err := media.CheckName(name); err != nil {
		return m.far.ReadAt(ctx, name, p, off) // says so too
	}
	return m.far.ReadAt(ctx, m.chunk(name), p, off)
}

func (m *through) Sync(ctx context.Context, name string) error {
	if err := media.CheckName(name); err != nil {
		return m.far.Sync(ctx, name)
	}
	return m.far.Sync(ctx, m.chunk(name))
}

func (m *through) List(ctx context.Context, prefix string) ([]media.Info, error) {
	infos, err := m.far.List(ctx, media.VolumePrefix(volume))
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []media.Info
	for _, info := range infos {
		_, id, _ := media.ParseChunkName(info.Name)
		if name := m.names[id.Number()-1]; strings.HasPrefix(name, prefix) {
			all = append(all, media.Info{Name: name, Size: info.Size})
		}
	}
	slices.SortFunc(all, func(a, b media.Info) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (m *through) Space(ctx context.Context) (media.Space, error) { return m.far.Space(ctx) }

func (m *through) Close() error { return errors.Join(m.far.Close(), m.Medium.Close()) }

// TestConformance has the reading half of the contract, and what there is besides, go through a server.
func TestConformance(t *testing.T) {
	conformance.Run(t, func(t *testing.T) media.Medium {
		// Not mem.Medium itself: what it offers besides is not to be seen.
		inner := mem.New(1 << 30)
		return &through{Medium: struct{ media.Medium }{inner}, far: serve(t, inner).medium(0)}
	})
}

func stored(t *testing.T, m media.Medium, name string, data []byte) {
	t.Helper()
	if err := m.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}

// TestReadOnly: nothing is written, nor looked at that is not a chunk of the volume.
func TestReadOnly(t *testing.T) {
	inner := mem.New(0)
	other := media.ChunkName(chunkfmt.VolumeID{8}, chunkfmt.MakeChunkID(1, 1, false))
	stored(t, inner, other, []byte("another's"))
	stored(t, inner, media.KeyName, []byte("key"))
	stored(t, inner, chunkName(1), []byte("own"))
	m := serve(t, inner).medium(0)
	_, err := m.Create(t.Context(), chunkName(2))
	for what, err := range map[string]error{
		"create": err, "put": m.Put(t.Context(), chunkName(1), nil), "remove": m.Remove(t.Context(), chunkName(1)),
	} {
		if !errors.Is(err, media.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{other, media.KeyName} {
		if n, err := m.ReadAt(t.Context(), name, make([]byte, 9), 0); !errors.Is(err, media.ErrName) {
			t.Errorf("read %s: %d, %v", name, n, err)
		}
		if err := m.Sync(t.Context(), name); !errors.Is(err, media.ErrName) {
			t.Errorf("sync %s: %v", name, err)
		}
	}
	for _, prefix := range []string{"", "volumes/", media.VolumePrefix(chunkfmt.VolumeID{8})} {
		if all, err := m.List(t.Context(), prefix); !errors.Is(err, media.ErrName) {
			t.Errorf("list %q: %v, %v", prefix, all, err)
		}
	}
	all, err := m.List(t.Context(), media.VolumePrefix(volume))
	if err != nil || len(all) != 1 || all[0] != (media.Info{Name: chunkName(1), Size: 3}) {
		t.Errorf("list: %v, %v", all, err)
	}
}

// TestErrors: what the medium of a server says is wrong means the same here, and is not asked for again.
func TestErrors(t *testing.T) {
	failing := faulty.Wrap(mem.New(0), nil)
	stored(t, failing, chunkName(1), []byte("x"))
	s := serve(t, failing)
	m := s.medium(0)
	for _, want := range []error{
		media.ErrNotExist, media.ErrName, media.ErrFull, media.ErrReadOnly, media.ErrTorn, media.ErrClosed, errors.New("on fire"),
	} {
		failing.SetRule(faulty.Fail(want, faulty.Read))
		before := s.asked.Load()
		_, err := m.ReadAt(t.Context(), chunkName(1), make([]byte, 1), 0)
		if err == nil || !errors.Is(err, want) && !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%v came over as %v", want, err)
		}
		if n := s.asked.Load() - before; n != 1 {
			t.Errorf("%v: asked %d times", want, n)
		}
	}
}

func TestPlaces(t *testing.T) {
	m := serve(t, mem.New(0)).medium(0)
	got, err := m.Places(5)
	if err != nil || !slices.Equal(got, []chunkfmt.Location{{Chunk: 3, Offset: 4, Length: 5}}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := m.Places(6); !errors.Is(err, media.ErrNoTag) {
		t.Errorf("of a group that is not there: %v", err)
	}
}

func TestLease(t *testing.T) {
	s := serve(t, mem.New(0))
	unlock, err := s.medium(0).Lock(t.Context(), "lock", "the first")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.medium(0).Lock(t.Context(), "lock", "the second"); !errors.Is(err, media.ErrLocked) || !strings.Contains(err.Error(), "the first") {
		t.Errorf("a second holder: %v", err)
	}
	for range 2 {
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.medium(0).Lock(t.Context(), "lock", "the third"); err != nil {
		t.Errorf("after the first has given it back: %v", err)
	}
}

// TestAway: a request is made again until the server is back, as long as the user wants to wait; what is left of the
// space is then what it was.
func TestAway(t *testing.T) {
	inner := mem.New(1000)
	stored(t, inner, chunkName(1), []byte("hello"))
	s := serve(t, inner)
	patient, hasty := s.medium(0), s.medium(100*time.Millisecond)
	was, err := patient.Space(t.Context())
	if err != nil || was.Total != 1000 {
		t.Fatalf("%+v, %v", was, err)
	}
	s.down.Store(true)
	if _, err := hasty.ReadAt(t.Context(), chunkName(1), make([]byte, 5), 0); !errors.Is(err, remote.ErrAway) {
		t.Errorf("a server that is away: %v", err)
	}
	if now, err := patient.Space(t.Context()); err != nil || now != was {
		t.Errorf("space %+v, %v, it was %+v", now, err, was)
	}
	type answer struct {
		b   []byte
		err error
	}
	got := make(chan answer, 1)
	before := s.asked.Load()
	go func() {
		b := make([]byte, 5)
		_, err := patient.ReadAt(t.Context(), chunkName(1), b, 0)
		got <- answer{b, err}
	}()
	for s.asked.Load() < before+2 {
		select {
		case a := <-got:
			t.Fatalf("it has not waited: %q, %v", a.b, a.err)
		case <-time.After(time.Millisecond):
		}
	}
	s.down.Store(false)
	if a := <-got; a.err != nil || string(a.b) != "hello" {
		t.Errorf("once it is back: %q, %v", a.b, a.err)
	}
}

// TestShortAnswer: an answer that ends before it should is no end of the chunk.
func TestShortAnswer(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if w.Header().Set("Content-Length", "5"); asked.Add(1) == 1 {
			w.Write([]byte("hel"))
			panic(http.ErrAbortHandler)
		}
		w.Write([]byte("hello"))
	}))
	defer s.Close()
	m := remote.New(remote.Config{Client: s.Client(), Base: s.URL})
	b := make([]byte, 9)
	if n, err := m.ReadAt(t.Context(), chunkName(1), b, 0); err != io.EOF || string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// FuzzHandler: whatever is asked, it is answered or refused, with no more bytes than a read may have.
func FuzzHandler(f *testing.F) {
	inner := mem.New(1 << 20)
	if err := inner.Put(f.Context(), chunkName(1), bytes.Repeat([]byte("x"), 1000)); err != nil {
		f.Fatal(err)
	}
	s := &server{}
	handler := remote.Handler(remote.Volume{
		ID: volume, Medium: inner,
		Places: func(chunkfmt.Seq) ([]chunkfmt.Location, error) { return nil, media.ErrNoTag },
		Space:  func(r *http.Request) (media.Space, error) { return inner.Space(r.Context()) },
		Lease:  s.lease.take, Release: s.lease.release,
		Remove: func(_ *http.Request, list io.Reader, _ bool) (remote.Removal, error) {
			n, err := io.Copy(io.Discard, list)
			return remote.Removal{Bytes: n}, err
		},
		Removal: func(*http.Request) remote.Removal { return remote.Removal{} },
	})
	f.Add("GET", "/objects/"+chunkName(1), "off=0&len=10", []byte(nil))
	f.Add("GET", "/objects/"+chunkName(1), "off=-1&len=99999999999", []byte(nil))
	f.Add("GET", "/objects/"+chunkName(1), "off=9223372036854775807&len=16777216", []byte(nil))
	f.Add("GET", "/objects", "prefix="+media.VolumePrefix(volume), []byte(nil))
	f.Add("GET", "/objects/../../coffer.key", "off=0&len=10", []byte(nil))
	f.Add("POST", "/sync/"+chunkName(1), "", []byte(nil))
	f.Add("GET", "/places/18446744073709551615", "", []byte(nil))
	f.Add("POST", "/lease", "", []byte(`{"holder":"x","keep":true,"take_over":true}`))
	f.Add("POST", "/lease", "", []byte(`{"holder":[[[[[[[`))
	f.Add("POST", "/removals", "dry-run=1", []byte("list"))
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		r := &http.Request{
			Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "x", Header: http.Header{},
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(t.Context()))
		if w.Body.Len() > 16<<20+4096+len(path) {
			t.Errorf("%s %q?%q: %d bytes came back", method, path, query, w.Body.Len())
		}
		if w.Code != http.StatusOK && w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q?%q: status %d with %.100q", method, path, query, w.Code, w.Body)
		}
	})
}
