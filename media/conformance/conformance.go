// Package conformance is the suite that every kind of medium must pass. A kind
// calls Run from one of its tests; it is not for use outside of tests.
//
// Start reading at Run; one file a topic.
package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"coffer/media"
)

// Run runs the suite. Open returns a new empty medium, which the suite closes.
// What a medium offers beyond media.Medium is tested if it is there.
func Run(t *testing.T, open func(t *testing.T) media.Medium) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, m media.Medium)
	}{
		{"AppendRead", appendRead},
		{"CreateTaken", createTaken},
		{"Missing", missing},
		{"ReadEnds", readEnds},
		{"EmptyAppend", emptyAppend},
		{"ManyParts", manyParts},
		{"LargeAppend", largeAppend},
		{"AppendRandom", appendRandom},
		{"Closed", closed},
		{"PartsUntouched", partsUntouched},
		{"Put", put},
		{"PutRacing", putRacing},
		{"List", list},
		{"Remove", remove},
		{"RemoveWhileAppending", removeWhileAppending},
		{"Names", names},
		{"Cancelled", cancelled},
		{"ReadersWhileAppending", readersWhileAppending},
		{"SyncWhileAppending", syncWhileAppending},
		{"ManyFiles", manyFiles},
		{"SyncByName", syncByName},
		{"Replace", replace},
		{"Space", space},
		{"Locks", locks},
		{"Links", links},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := open(t)
			t.Cleanup(func() {
				if err := m.Close(); err != nil {
					t.Errorf("close medium: %v", err)
				}
			})
			c.run(t, m)
		})
	}
}

// pattern returns n bytes that differ from place to place.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	r.Read(b) // never fails
	return b
}

func create(t *testing.T, m media.Medium, name string) media.Appender {
	t.Helper()
	a, err := m.Create(t.Context(), name)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("close appender of %s: %v", name, err)
		}
	})
	return a
}

func mustAppend(t *testing.T, a media.Appender, parts ...[]byte) int64 {
	t.Helper()
	off, err := a.Append(t.Context(), parts...)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return off
}

func mustPut(t *testing.T, m media.Medium, name string, data []byte) {
	t.Helper()
	if err := m.Put(t.Context(), name, data); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

// wantContent reads name whole and compares.
func wantContent(t *testing.T, m media.Medium, name string, want []byte) {
	t.Helper()
	if err := sameContent(t.Context(), m, name, want); err != nil {
		t.Fatal(err)
	}
}

func sameContent(ctx context.Context, m media.Medium, name string, want []byte) error {
	got, err := media.ReadAll(ctx, m, name, len(want)+1)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: %d bytes, want %d; equal up to %d", name, len(got), len(want), common(got, want))
	}
	return nil
}

func common(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func wantRead(t *testing.T, m media.Medium, name string, off int64, size int, want []byte, wantErr error) {
	t.Helper()
	p := make([]byte, size)
	n, err := m.ReadAt(t.Context(), name, p, off)
	if !errors.Is(err, wantErr) || !bytes.Equal(p[:n], want) {
		t.Errorf("read %d bytes at %d: got %d bytes %.20q, %v; want %.20q, %v", size, off, n, p[:n], err, want, wantErr)
	}
	if errors.Is(wantErr, io.EOF) && err != io.EOF {
		t.Errorf("end of object is reported as %v, want io.EOF itself", err)
	}
}
