package rig

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/test/compare"
)

// PublicDir is a temporary directory that every user may enter.
func PublicDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "coffer-test-")
	Must(tb, err, os.Chmod(dir, 0o755))
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Chunks are the files of a store that hold data and log, mirrors too, by name.
func Chunks(tb testing.TB, store string) []string {
	tb.Helper()
	var chunks []string
	Must(tb, filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if name := filepath.Base(path); err == nil && (strings.Contains(name, ".chunk") || strings.Contains(name, ".mirror")) {
			chunks = append(chunks, path)
		}
		return err
	}))
	return chunks
}

// Stored is the length of all chunks of a store.
func Stored(tb testing.TB, store string) int64 {
	tb.Helper()
	var sum int64
	for _, chunk := range Chunks(tb, store) {
		info, err := os.Stat(chunk)
		Must(tb, err)
		sum += info.Size()
	}
	return sum
}

// CopyTree copies with all that cp can keep.
func CopyTree(tb testing.TB, from, to string) {
	tb.Helper()
	Output(tb, "cp", "-a", from, to)
}

// ReadTree reads a tree for comparison.
func ReadTree(tb testing.TB, dir string) compare.Tree {
	tb.Helper()
	tree, err := compare.Read(dir, nil)
	Must(tb, err)
	return tree
}

// Same fails the test with the differences of two trees, if there are any.
func Same(tb testing.TB, when string, want, got compare.Tree) {
	tb.Helper()
	if lines := compare.Diff(want, got); len(lines) > 0 {
		tb.Errorf("%s: %d differences:\n%s", when, len(lines), compare.Summary(lines))
	}
}

// DropIndex removes the indexes of a user's volumes, and nothing else of the state.
func (u *User) DropIndex(tb testing.TB) {
	tb.Helper()
	found := false
	Must(tb, filepath.WalkDir(u.State(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "index.db" {
			found = true
			return os.Remove(path)
		}
		return err
	}))
	if !found {
		tb.Fatalf("there is no index under %s", u.State())
	}
}

// DropCatalogs removes the catalogs of a store.
func DropCatalogs(tb testing.TB, store string) {
	tb.Helper()
	Must(tb, filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "catalog" {
			return os.Remove(path)
		}
		return err
	}))
}
