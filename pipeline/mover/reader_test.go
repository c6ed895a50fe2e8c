package mover

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"coffer/index"
)

// TestReaderBesideWriter opens a volume for reading while the process that writes it keeps the index and lends no copy.
func TestReaderBesideWriter(t *testing.T) {
	p := newPlace(t)
	w := p.mustOpen(t)
	w.put("a", "0")
	var log bytes.Buffer
	o := p.options(t)
	o.Follow, o.indexPatience = true, time.Millisecond
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r, err := OpenReader(t.Context(), o, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := number(t, r, "a"); n != 0 {
		t.Errorf("it shows %d", n)
	}
	w.put("a", "1")
	catchUp(t, r, w.s.index.Head())
	if n := number(t, r, "a"); n != 1 {
		t.Errorf("it shows %d, and 1 was written", n)
	}
	for _, seq := range w.groups() {
		if err := r.Groups().ReadAt(t.Context(), seq, make([]byte, 1), 0); err != nil {
			t.Error(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	w.end()
	left, err := filepath.Glob(filepath.Join(p.state, "reading-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("it has left %v: %v", left, err)
	}
	if log.Len() > 0 {
		t.Errorf("nothing was wrong, and the log says:\n%s", log.String())
	}
}

// TestWriterBesideReader: who writes waits for a reader that is copying the index.
func TestWriterBesideReader(t *testing.T) {
	p := newPlace(t)
	p.mustOpen(t).end()
	o := p.options(t)
	s := newSource(o)
	x, err := index.Open(filepath.Join(p.state, "index.db"), index.Identity{Store: o.Store, Volume: s.keys.ID})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan *Source)
	go func() {
		w, err := p.open(t)
		if err != nil {
			t.Error(err)
		}
		opened <- w
	}()
	select {
	case <-opened:
		t.Fatal("it did not wait for the reader")
	case <-time.After(time.Second): // longer than index.Open waits
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if w := <-opened; w != nil {
		(&writing{t: t, s: w}).end()
	}
}
