package conformance

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"coffer/media"
)

// readersWhileAppending reads what was appended while more is: everything below
// a size that the writer has announced must be there.
func readersWhileAppending(t *testing.T, m media.Medium) {
	a := create(t, m, "live")
	whole := pattern(9, 1<<20)
	const piece = 4096 + 17
	var size atomic.Int64
	var g errgroup.Group
	g.Go(func() error {
		for at := 0; at < len(whole); at += piece {
			end := min(at+piece, len(whole))
			if _, err := a.Append(t.Context(), whole[at:end]); err != nil {
				return err
			}
			size.Store(int64(end))
		}
		return nil
	})
	for range 3 {
		g.Go(func() error {
			p := make([]byte, len(whole))
			for size.Load() < int64(len(whole)) {
				n := size.Load()
				if _, err := m.ReadAt(t.Context(), "live", p[:n], 0); err != nil {
					return fmt.Errorf("read of %d bytes: %w", n, err)
				}
				if !bytes.Equal(p[:n], whole[:n]) {
					return fmt.Errorf("the first %d bytes differ", n)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantContent(t, m, "live", whole)
}

func syncWhileAppending(t *testing.T, m media.Medium) {
	a := create(t, m, "synced")
	var g errgroup.Group
	var done atomic.Bool
	g.Go(func() error {
		defer done.Store(true)
		for range 300 {
			if _, err := a.Append(t.Context(), make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
	for range 2 {
		g.Go(func() error {
			for !done.Load() {
				if err := a.Sync(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if a.Size() != 300_000 {
		t.Errorf("size is %d, want 300000", a.Size())
	}
}

// manyFiles reads more objects, at once and in turn, than any medium keeps open.
func manyFiles(t *testing.T, m media.Medium) {
	const count = 500
	for i := range count {
		mustPut(t, m, fmt.Sprintf("many/%03d", i), []byte{byte(i), byte(i >> 8)})
	}
	var g errgroup.Group
	for reader := range 4 {
		g.Go(func() error {
			p := make([]byte, 3)
			for i := range count {
				i = (i*7 + reader*31) % count
				n, err := m.ReadAt(t.Context(), fmt.Sprintf("many/%03d", i), p, 0)
				if err != io.EOF || n != 2 || p[0] != byte(i) || p[1] != byte(i>>8) {
					return fmt.Errorf("object %d: %v, %w", i, p[:n], err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
