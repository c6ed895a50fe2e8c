package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// Exit codes as they are documented; scripts rely on the numbers.
const (
	exitUsage      = 2
	exitIncomplete = 3
	exitWrongKey   = 10
	exitNoKey      = 11
	exitNoStore    = 12
	exitStoreThere = 13
	exitNoDir      = 14
	exitInUse      = 15
	exitNotEmpty   = 25
	exitStale      = 16
	exitLocked     = 17
	exitNoFuse     = 18
	exitRolledBack = 19
	exitNotMounted = 20
	exitBusy       = 21
	exitFull       = 22
)

// wantExit runs a command that must fail with a code and a sentence that has all the words.
func (p place) wantExit(t *testing.T, code int, words string, args ...string) {
	t.Helper()
	got, _, stderr := p.Try(t, args...)
	missing := slices.DeleteFunc(strings.Fields(words), func(w string) bool { return strings.Contains(stderr, w) })
	if got != code || len(missing) > 0 {
		t.Errorf("coffer %q: exit code %d, want %d; stderr lacks %q:\n%s", args, got, code, missing, stderr)
	}
}

func TestExitCodes(t *testing.T) {
	p := newPlace(t)
	base := filepath.Dir(p.store)
	at := func(name string) string { return filepath.Join(base, name) }
	empty, full, elsewhere := at("empty"), at("full"), at("elsewhere")
	rig.Must(t, os.Mkdir(empty, 0o755), os.MkdirAll(filepath.Join(full, "x"), 0o755), os.Mkdir(elsewhere, 0o755), os.Mkdir(p.mnt, 0o755))
	otherKey := at("other-identity")
	rig.Must(t, os.WriteFile(at("passphrase"), []byte("correct horse\n"), 0o600))

	p.wantExit(t, exitUsage, "unknown", "frobnicate")
	p.wantExit(t, exitUsage, "", "mount", p.store)
	p.wantExit(t, exitStoreThere, "store", "init", p.store)
	p.wantExit(t, exitStoreThere, "empty", "init", full)
	p.wantExit(t, exitNoStore, "store", "mount", empty, p.mnt)
	p.wantExit(t, exitNoStore, "store", "mount", at("missing"), p.mnt)
	p.wantExit(t, exitNoDir, "directory", "mount", p.store, at("missing"))
	p.wantExit(t, exitNotEmpty, "empty", "mount", p.store, full)
	p.wantExit(t, exitNotMounted, "mounted", "umount", empty)
	p.wantExit(t, exitNotMounted, "mounted", "sync", empty)

	// A key that is not this store's, none at all, and a wrong passphrase.
	other := rig.NewUser(t, at("other"))
	other.Run(t, "init", at("other-store"))
	rig.CopyTree(t, other.Identity(), otherKey)
	p.wantExit(t, exitWrongKey, "key", "mount", "--identity", otherKey, p.store, p.mnt)
	nobody := place{rig.NewUser(t, at("keyless")), p.store, p.mnt}
	nobody.wantExit(t, exitNoKey, "key", "mount", p.store, p.mnt)
	p.Run(t, "init", "--passphrase-file", at("passphrase"), at("phrase-store"))
	rig.Must(t, os.WriteFile(at("wrong"), []byte("battery staple\n"), 0o600))
	p.wantExit(t, exitWrongKey, "passphrase", "mount", "--passphrase-file", at("wrong"), at("phrase-store"), p.mnt)

	m := p.mount(t)
	p.wantExit(t, exitInUse, "use", "mount", at("phrase-store"), p.mnt, "--passphrase-file", at("passphrase"))
	p.wantExit(t, exitLocked, "writ", "mount", p.store, elsewhere)
	open, err := os.Create(m.Path("open"))
	rig.Must(t, err)
	p.wantExit(t, exitBusy, "use", "umount", p.mnt)
	rig.Must(t, open.Close())
	if _, err := os.Stat(m.Path("open")); err != nil {
		t.Errorf("after a refused umount the mount is gone: %v", err)
	}
	m.Signal()
	<-m.Done()
	p.wantExit(t, exitStale, "fusermount3", "mount", p.store, p.mnt)
	p.wantExit(t, exitStale, "fusermount3", "sync", p.mnt)
	p.wantExit(t, exitStale, "fusermount3", "umount", p.mnt)
	m.Kill()
}

// TestKeys opens one store by each kind of key.
func TestKeys(t *testing.T) {
	p := newPlace(t)
	base := filepath.Dir(p.store)
	phrase := filepath.Join(base, "passphrase")
	rig.Must(t, os.WriteFile(phrase, []byte("correct horse\n"), 0o600))
	store := filepath.Join(base, "phrase-store")
	recovery := p.Run(t, "init", "--passphrase-file", phrase, store)
	var key string
	for line := range strings.Lines(recovery) {
		if at := strings.Index(strings.ToLower(line), "coffer1-"); at >= 0 {
			key = line[at:]
		}
	}
	if key == "" {
		t.Fatalf("init did not print a recovery key:\n%s", recovery)
	}
	keyFile := filepath.Join(base, "recovery")
	rig.Must(t, os.WriteFile(keyFile, []byte(key), 0o600))
	for _, flags := range [][]string{
		{"--passphrase-file", phrase},
		{"--passphrase-command", "echo correct horse"},
		{"--recovery-key-file", keyFile},
	} {
		m := p.Mount(t, store, p.mnt, flags...)
		rig.Must(t, os.WriteFile(m.Path("by"+flags[0]), []byte(flags[0]), 0o600))
		m.Unmount(t)
	}
	// Two volumes of one store are two trees.
	m := p.Mount(t, store, p.mnt, "--passphrase-file", phrase, "--volume", "second")
	if names, err := os.ReadDir(m.Dir); err != nil || len(names) > 0 {
		t.Errorf("a new volume has %v, %v", names, err)
	}
	m.Unmount(t)
}

// TestRefused shows stores that are not what they were when the writer left them. Each is refused with
// a sentence that says so; with --accept-rollback it is taken as it is.
func TestRefused(t *testing.T) {
	write := func(t *testing.T, p place, name string) {
		t.Helper()
		m := p.mount(t)
		rig.Must(t, os.WriteFile(m.Path(name), []byte(strings.Repeat(name, 100_000)), 0o644))
		m.Unmount(t)
	}
	for _, tc := range []struct {
		name  string
		words string
		spoil func(t *testing.T, p place)
	}{
		{"rolled back", "older", func(t *testing.T, p place) {
			old := p.store + ".old"
			rig.CopyTree(t, p.store, old)
			write(t, p, "later")
			rig.Must(t, os.RemoveAll(p.store), os.Rename(old, p.store))
		}},
		{"cut short", "", func(t *testing.T, p place) {
			write(t, p, "later")
			newest := int64(0)
			for _, c := range rig.Chunks(t, p.store) {
				newest = max(newest, modified(t, c))
			}
			for _, c := range rig.Chunks(t, p.store) {
				// Everything of the last session is shortened, its mirror too.
				if modified(t, c) >= newest-int64(2e9) && strings.Contains(filepath.Base(c), "2-") {
					info, err := os.Stat(c)
					rig.Must(t, err, os.Truncate(c, info.Size()/3))
				}
			}
		}},
		{"forked", "elsewhere", func(t *testing.T, p place) {
			copied := p.store + ".copy"
			rig.CopyTree(t, p.store, copied)
			write(t, p, "here")
			other := rig.NewUser(t, t.TempDir())
			rig.Must(t, os.MkdirAll(filepath.Dir(other.Identity()), 0o700))
			rig.CopyTree(t, p.Identity(), other.Identity())
			there := place{other, copied, p.mnt}
			write(t, there, "there")
			write(t, there, "there again")
			rig.Must(t, os.RemoveAll(p.store), os.Rename(copied, p.store))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlace(t)
			write(t, p, "first")
			tc.spoil(t, p)
			p.wantExit(t, exitRolledBack, tc.words+" --accept-rollback", "mount", p.store, p.mnt)
			m := p.mount(t, "--accept-rollback")
			if _, err := os.ReadFile(m.Path("first")); err != nil {
				t.Errorf("what was there before is lost: %v", err)
			}
			m.Unmount(t)
			write(t, p, "after")
		})
	}
}

func modified(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	rig.Must(t, unix.Stat(path, &st))
	return st.Mtim.Nano()
}
