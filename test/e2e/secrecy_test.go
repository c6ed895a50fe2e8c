package e2e

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// TestCanary writes a word into every place that holds something of the user's, and looks for it in
// every file of the store. That the search works shows in the index, which is not part of the store.
func TestCanary(t *testing.T) {
	const canary = "Kanarienvogel-4711-canary"
	p := newPlace(t)
	m := p.mount(t, "--volume", canary)
	noise := make([]byte, 1<<20)
	rand.Read(noise)
	rig.Must(t,
		os.Mkdir(m.Path("dir-"+canary), 0o755),
		os.WriteFile(m.Path("small-"+canary), []byte(canary), 0o644),
		os.WriteFile(m.Path("text"), []byte(strings.Repeat(canary+"\n", 50_000)), 0o644),
		// Bytes that don't compress are stored as they are, but sealed.
		os.WriteFile(m.Path("noise"), append([]byte(canary), noise...), 0o644),
		os.Symlink(canary, m.Path("symlink")),
		unix.Setxattr(m.Path("text"), "user."+canary, []byte("value"), 0),
		unix.Setxattr(m.Path("text"), "user.name", []byte(canary), 0),
	)
	m.Sync(t)
	if found := containing(t, p.store, canary); len(found) > 0 {
		t.Errorf("while mounted, the canary is in %q", found)
	}
	m.Unmount(t)
	if found := containing(t, p.store, canary); len(found) > 0 {
		t.Errorf("the canary is in %q", found)
	}
	if found := containing(t, p.State(), canary); len(found) == 0 {
		t.Error("the canary is not found in the index: the search finds nothing")
	}
}

// containing lists the files below dir, and names of files, that have the word in them.
func containing(t *testing.T, dir, word string) (found []string) {
	t.Helper()
	rig.Must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.Contains(path, word) {
			found = append(found, path)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(word)) {
			found = append(found, path)
		}
		return err
	}))
	return found
}
