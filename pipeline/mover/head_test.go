package mover

import (
	"os"
	"path/filepath"
	"testing"

	"coffer/chunkfmt"
	"coffer/index"
)

func TestHeadFile(t *testing.T) {
	dir := t.TempDir()
	h, err := openHeadFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	head := func(n uint64) index.Head {
		return index.Head{Session: chunkfmt.SessionID{1}, Ordinal: 3, Seq: chunkfmt.MakeSeq(3, n), Chain: chunkfmt.Hash{byte(n)}}
	}
	for n := range uint64(5) {
		if err := h.Set(head(n + 1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Set(head(2)); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "head")
	intact, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Any torn or rotten slot leaves the other one to count.
	for at := range intact {
		b := append([]byte(nil), intact...)
		b[at] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := openHeadFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Last(); got != head(5) && got != head(4) {
			t.Fatalf("byte %d flipped: %+v", at, got)
		}
		h.Close()
	}
}
