package conformance

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"coffer/media"
)

func appendRead(t *testing.T, m media.Medium) {
	a := create(t, m, "volumes/aa/one.chunk")
	if off := mustAppend(t, a, []byte("hello "), []byte("world")); off != 0 {
		t.Errorf("first append is at %d, want 0", off)
	}
	// Readable before any sync.
	wantContent(t, m, "volumes/aa/one.chunk", []byte("hello world"))
	if off := mustAppend(t, a, []byte("!")); off != 11 {
		t.Errorf("second append is at %d, want 11", off)
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Fatalf("sync: %v", err)
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Fatalf("second sync: %v", err)
	}
	if a.Size() != 12 {
		t.Errorf("size is %d, want 12", a.Size())
	}
	wantContent(t, m, "volumes/aa/one.chunk", []byte("hello world!"))
}

func createTaken(t *testing.T, m media.Medium) {
	a := create(t, m, "taken")
	mustAppend(t, a, []byte("kept"))
	_, err := m.Create(t.Context(), "taken")
	wantError(t, "create a name that is being appended to", err, media.ErrExist)
	mustPut(t, m, "put", []byte("kept"))
	_, err = m.Create(t.Context(), "put")
	wantError(t, "create a name that was put", err, media.ErrExist)
	wantContent(t, m, "taken", []byte("kept"))
	wantContent(t, m, "put", []byte("kept"))
}

func missing(t *testing.T, m media.Medium) {
	_, err := m.ReadAt(t.Context(), "no/such", make([]byte, 1), 0)
	wantError(t, "read", err, media.ErrNotExist)
	wantError(t, "remove", m.Remove(t.Context(), "no/such"), media.ErrNotExist)
	got, err := m.List(t.Context(), "no/such/")
	if err != nil || len(got) != 0 {
		t.Errorf("list of nothing: %v, %v; want none, nil", got, err)
	}
}

func readEnds(t *testing.T, m media.Medium) {
	mustAppend(t, create(t, m, "ends"), []byte("0123456789"))
	wantRead(t, m, "ends", 0, 10, []byte("0123456789"), nil)
	wantRead(t, m, "ends", 3, 4, []byte("3456"), nil)
	wantRead(t, m, "ends", 8, 4, []byte("89"), io.EOF)
	wantRead(t, m, "ends", 10, 1, nil, io.EOF)
	wantRead(t, m, "ends", 1<<40, 1, nil, io.EOF)
	if _, err := m.ReadAt(t.Context(), "ends", make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("read at a negative offset: got %v, want an error", err)
	}
}

func emptyAppend(t *testing.T, m media.Medium) {
	a := create(t, m, "empty")
	for _, parts := range [][][]byte{nil, {nil}, {{}, {}}} {
		if off := mustAppend(t, a, parts...); off != 0 {
			t.Errorf("append of nothing is at %d, want 0", off)
		}
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Errorf("sync of an empty object: %v", err)
	}
	wantContent(t, m, "empty", nil)
	mustPut(t, m, "empty-put", nil)
	wantContent(t, m, "empty-put", nil)
}

func manyParts(t *testing.T, m media.Medium) {
	// More parts than one system call takes, with empty ones between.
	a := create(t, m, "parts")
	var parts [][]byte
	for i := range 5000 {
		parts = append(parts, pattern(uint64(i), i%7))
	}
	want := bytes.Join(parts, nil)
	mustAppend(t, a, []byte("x"))
	mustAppend(t, a, parts...)
	wantContent(t, m, "parts", append([]byte("x"), want...))
}

func largeAppend(t *testing.T, m media.Medium) {
	a := create(t, m, "large")
	part := pattern(1, 5<<20)
	for i := range int64(4) {
		if off := mustAppend(t, a, part, part[:1]); off != i*(5<<20+1) {
			t.Errorf("append %d is at %d", i, off)
		}
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Fatalf("sync: %v", err)
	}
	piece := append(bytes.Clone(part), part[:1]...)
	wantContent(t, m, "large", bytes.Repeat(piece, 4))
}

// appendRandom holds an object against a slice.
func appendRandom(t *testing.T, m media.Medium) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	a := create(t, m, "random")
	var model []byte
	for range 200 {
		switch r.IntN(4) {
		case 0, 1:
			parts := make([][]byte, r.IntN(5))
			for i := range parts {
				parts[i] = pattern(r.Uint64(), r.IntN(9000))
			}
			if off := mustAppend(t, a, parts...); off != int64(len(model)) {
				t.Fatalf("append is at %d, want %d", off, len(model))
			}
			model = append(model, bytes.Join(parts, nil)...)
		case 2:
			off := r.IntN(len(model) + 1)
			size := r.IntN(20000)
			var wantErr error
			if off+size > len(model) {
				wantErr = io.EOF
			}
			wantRead(t, m, "random", int64(off), size, model[off:min(off+size, len(model))], wantErr)
		case 3:
			if err := a.Sync(t.Context()); err != nil {
				t.Fatalf("sync: %v", err)
			}
		}
	}
	wantContent(t, m, "random", model)
}

func closed(t *testing.T, m media.Medium) {
	a := create(t, m, "closed")
	mustAppend(t, a, []byte("x"))
	if err := a.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	_, err := a.Append(t.Context(), []byte("y"))
	wantError(t, "append after close", err, media.ErrClosed)
	wantError(t, "sync after close", a.Sync(t.Context()), media.ErrClosed)
	if err := a.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	wantContent(t, m, "closed", []byte("x"))
}

func partsUntouched(t *testing.T, m media.Medium) {
	a := create(t, m, "untouched")
	part := []byte("before")
	parts := [][]byte{part, part}
	mustAppend(t, a, parts...)
	if string(parts[0]) != "before" || string(parts[1]) != "before" {
		t.Errorf("append changed its arguments: %q", parts)
	}
	copy(part, "after!")
	wantContent(t, m, "untouched", []byte("beforebefore"))
	data := []byte("before")
	mustPut(t, m, "untouched-put", data)
	copy(data, "after!")
	wantContent(t, m, "untouched-put", []byte("before"))
}
