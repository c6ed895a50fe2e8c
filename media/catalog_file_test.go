package media_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/mem"
)

// logged collects what a catalog says.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// TestCatalogFileDamaged flips each byte and cuts at each length: the catalog
// must say that it starts anew, or see no harm, and answer right in any case.
func TestCatalogFileDamaged(t *testing.T) {
	m := mem.New(0)
	path := filepath.Join(t.TempDir(), "catalog")
	c := openCatalog(t, path, m, media.CatalogOptions{})
	for n := range uint32(3) {
		writeChunk(t, m, chunkfmt.MakeChunkID(1, n+1, false), seqs(1, uint64(n)*10+1, uint64(n)*10+10)...)
	}
	refresh(t, c)
	want := c.Chunks()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		log, said := logged()
		c := openCatalog(t, path, m, media.CatalogOptions{Log: log})
		for _, k := range c.Chunks() {
			if !slices.Contains(want, k) {
				t.Errorf("%s: the file was trusted: %+v", what, k)
			}
		}
		if whole := len(c.Chunks()) == len(want); whole == strings.Contains(said.String(), "catalog file is") {
			t.Errorf("%s: %d chunks known, log says %q", what, len(c.Chunks()), said)
		}
		refresh(t, c)
		if got := c.Chunks(); !slices.Equal(got, want) {
			t.Errorf("%s: refreshed to %+v", what, got)
		}
		wantFound(t, c, m, seqs(1, 1, 30)...)
		c = openCatalog(t, path, m, media.CatalogOptions{})
		if got := c.Chunks(); !slices.Equal(got, want) {
			t.Errorf("%s: the file was not put in order: %+v", what, got)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("byte %d flipped", i), b)
	}
	for _, n := range []int{0, 1, 27, 28 + 7, len(whole) / 2, len(whole) - 1} {
		try(fmt.Sprintf("cut to %d bytes", n), whole[:n])
	}
	try("zeros at the end", append(bytes.Clone(whole[:len(whole)-20]), make([]byte, 4096)...))
}

func TestCatalogFileUnwritable(t *testing.T) {
	m := mem.New(0)
	path := filepath.Join(t.TempDir(), "directory", "catalog")
	if err := os.MkdirAll(path, 0o700); err != nil { // a directory in its place
		t.Fatal(err)
	}
	log, said := logged()
	c := openCatalog(t, path, m, media.CatalogOptions{Log: log})
	writeChunk(t, m, chunkfmt.MakeChunkID(1, 1, false), seqs(1, 1, 9)...)
	refresh(t, c)
	wantFound(t, c, m, seqs(1, 1, 9)...)
	if !strings.Contains(said.String(), "cannot write catalog file") {
		t.Errorf("log says %q", said)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refresh(t, c)
	if got := openCatalog(t, path, m, media.CatalogOptions{}).Chunks(); len(got) != 1 {
		t.Errorf("the file was not written once it could be: %+v", got)
	}
}

// TestCatalogFileStaysSmall adds and removes chunks many times.
func TestCatalogFileStaysSmall(t *testing.T) {
	m := mem.New(0)
	path := filepath.Join(t.TempDir(), "catalog")
	c := openCatalog(t, path, m, media.CatalogOptions{})
	id := chunkfmt.MakeChunkID(1, 1, false)
	for range 300 {
		writeChunk(t, m, id, seqs(1, 1, 2)...)
		refresh(t, c)
		if err := m.Remove(t.Context(), media.ChunkName(volume, id)); err != nil {
			t.Fatal(err)
		}
		refresh(t, c)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 6000 {
		t.Errorf("the file of an empty catalog has %d bytes, %v", info.Size(), err)
	}
}
