package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"coffer/chunkfmt"
	"coffer/media"
)

const (
	maxAnswer  = 64 << 20 // bytes of a JSON answer: a list of half a million chunks
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
	spaceTime  = 2 * time.Second // that the server may take to say how much space there is
)

// Config says where the volume is.
type Config struct {
	// Client makes requests of URLs that begin with Base, up to and without the slash in front of the handler's paths.
	Client *http.Client
	Base   string
	// Timeout is for how long a request is made again while the server does not answer; 0: as long as its context
	// lasts.
	Timeout time.Duration
	// Keep: the lease on the volume is kept until it is given back, however long this machine is not heard of: it has
	// something that is to come.
	Keep bool
	// TakeOver takes the lease from whoever has it.
	TakeOver bool
}

// Medium reads a volume of a store on another machine. It is a media.Medium that refuses to be written with
// media.ErrReadOnly, and a media.Syncer, media.Spacer and media.Locker.
type Medium struct {
	cfg Config

	mu    sync.Mutex // guards what follows; nothing is locked after it
	space media.Space
	known bool
}

// New makes the medium. It asks for nothing yet.
func New(cfg Config) *Medium { return &Medium{cfg: cfg} }

// Create implements media.Medium: it refuses.
func (m *Medium) Create(context.Context, string) (media.Appender, error) {
	return nil, fmt.Errorf("create an object on a server: %w", media.ErrReadOnly)
}

// Remove implements media.Medium: it refuses.
func (m *Medium) Remove(context.Context, string) error {
	return fmt.Errorf("remove an object on a server: %w", media.ErrReadOnly)
}

// Put implements media.Medium: it refuses.
func (m *Medium) Put(context.Context, string, []byte) error {
	return fmt.Errorf("put an object on a server: %w", media.ErrReadOnly)
}

// Close implements media.Medium.
func (m *Medium) Close() error {
	m.cfg.Client.CloseIdleConnections()
	return nil
}

// ReadAt implements media.Medium.
func (m *Medium) ReadAt(ctx context.Context, name string, p []byte, off int64) (n int, err error) {
	if err := media.CheckName(name); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("read %s at %d: negative offset", name, off)
	}
	for {
		part, err := m.readPart(ctx, name, p[n:min(len(p), n+maxRead)], off+int64(n))
		n += part
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// readPart reads what one request may ask for.
func (m *Medium) readPart(ctx context.Context, name string, p []byte, off int64) (n int, err error) {
	path := "/objects/" + name + "?off=" + strconv.FormatInt(off, 10) + "&len=" + strconv.Itoa(len(p))
	err = m.ask(ctx, http.MethodGet, path, nil, func(answer *http.Response) error {
		n, err = io.ReadFull(answer.Body, p)
		if answer.ContentLength == int64(n) && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) {
			return io.EOF
		}
		if len(p) == 0 {
			return nil
		}
		return err
	})
	if err == io.EOF {
		return n, err
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return n, nil
}

// List implements media.Medium.
func (m *Medium) List(ctx context.Context, prefix string) (infos []media.Info, err error) {
	if err := m.call(ctx, http.MethodGet, "/objects?prefix="+url.QueryEscape(prefix), nil, &infos); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	return infos, nil
}

// Sync implements media.Syncer.
func (m *Medium) Sync(ctx context.Context, name string) error {
	if err := media.CheckName(name); err != nil {
		return err
	}
	if err := m.call(ctx, http.MethodPost, "/sync/"+name, nil, nil); err != nil {
		return fmt.Errorf("make %s stable: %w", name, err)
	}
	return nil
}

// Space implements media.Spacer. Of a server that does not answer at once it says what was so last.
func (m *Medium) Space(ctx context.Context) (media.Space, error) {
	var space media.Space
	quick, cancel := context.WithTimeout(ctx, spaceTime)
	defer cancel()
	err := m.call(quick, http.MethodGet, "/space", nil, &space)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.space, m.known = space, true
	}
	if err != nil && (!m.known || ctx.Err() != nil) {
		return space, fmt.Errorf("ask the server for its space: %w", err)
	}
	return m.space, nil
}

// Places finds a group, as media.Catalog does: where the store is, there is its catalog.
func (m *Medium) Places(seq chunkfmt.Seq) (places []chunkfmt.Location, err error) {
	// As long as it takes: who waits for the group knows when to stop.
	path := "/places/" + strconv.FormatUint(uint64(seq), 10)
	if err := m.call(context.Background(), http.MethodGet, path, nil, &places); err != nil {
		return nil, fmt.Errorf("look up %v: %w", seq, err)
	}
	return places, nil
}

// lease is a request for the right to write the volume, and the answer when somebody else has it.
type lease struct {
	Holder   string `json:"holder"`
	Keep     bool   `json:"keep,omitempty"`
	TakeOver bool   `json:"take_over,omitempty"`
}

// Lock implements media.Locker: the lease on the volume, whose name does not matter here. It lasts for a while after
// this machine was last heard of, however the process ends; see also Keep.
func (m *Medium) Lock(ctx context.Context, _, holder string) (unlock func() error, err error) {
	if err := m.call(ctx, http.MethodPost, "/lease", lease{holder, m.cfg.Keep, m.cfg.TakeOver}, nil); err != nil {
		return nil, fmt.Errorf("take the lease on the volume: %w", err)
	}
	return sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), spaceTime)
		defer cancel()
		if err := m.call(ctx, http.MethodDelete, "/lease", nil, nil); err != nil && ctx.Err() == nil {
			return fmt.Errorf("give the lease on the volume back: %w", err)
		}
		return nil // the server finds out
	}), nil
}

func (m *Medium) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	return m.ask(ctx, method, path, func() io.Reader { return bytes.NewReader(body) }, func(answer *http.Response) error {
		if out == nil {
			return nil
		}
		return json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(out)
	})
}

// ask makes a request until the server answers it, and gives a good answer to read. body, if not nil, is called for each.
func (m *Medium) ask(parent context.Context, method, path string, body func() io.Reader, read func(*http.Response) error) error {
	ctx := parent
	if m.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(parent, m.cfg.Timeout, ErrAway)
		defer cancel()
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := m.once(ctx, method, path, body, read)
		var no *refused
		if err == nil || err == io.EOF || errors.As(err, &no) {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

func (m *Medium) once(ctx context.Context, method, path string, body func() io.Reader, read func(*http.Response) error) error {
	var b io.Reader
	if body != nil {
		b = body()
	}
	r, err := http.NewRequestWithContext(ctx, method, m.cfg.Base+path, b)
	if err != nil {
		return &refused{err}
	}
	if s, ok := b.(*io.SectionReader); ok {
		r.ContentLength = s.Size()
	}
	answer, err := m.cfg.Client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return failureOf(answer)
	}
	return read(answer)
}
