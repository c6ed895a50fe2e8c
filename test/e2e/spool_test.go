package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"coffer/test/rig"
)

// another is a machine that has nothing but the recovery key of the first one's volume.
func (two *twoMachines) another(t *testing.T, name string) *rig.User {
	t.Helper()
	recovery := secretFile(t, filepath.Join(two.dir, name+"-recovery"), two.laptop.Run(t, "key", "export", two.addr))
	u := two.net.Host(t).User(t, filepath.Join(two.dir, name))
	u.Run(t, "key", "import", two.server.Invite(t, name, two.server.Address, "--with", "laptop"), recovery)
	return u
}

// see mounts the volume as another machine does and compares.
func (two *twoMachines) see(t *testing.T, u *rig.User, when, path string, want string) {
	t.Helper()
	m := u.Mount(t, two.addr, filepath.Join(two.dir, "mnt-of-another"))
	rig.Same(t, when, rig.ReadTree(t, want), rig.ReadTree(t, m.Path(path)))
	m.Unmount(t)
}

// TestSpool writes, with a spool in front of a server, while the server is away: copies, syncs and unmounts are done, and
// what was written is read back. When the server is back all of it goes there, also what a killed process left behind,
// and another machine sees it.
func TestSpool(t *testing.T) {
	source := filepath.Join(goRoot(t), "src", "net", "http")
	two := newTwoMachines(t)
	spool := filepath.Join(two.dir, "spool")
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt, "--spool", spool)
	other := two.another(t, "other")
	two.server.Kill()
	rig.CopyTree(t, source, m.Path("first"))
	m.Sync(t)
	rig.Same(t, "with the server away", rig.ReadTree(t, source), rig.ReadTree(t, m.Path("first")))
	status := two.laptop.Run(t, "status")
	if !strings.Contains(status, "not on the server yet") || !strings.Contains(status, "does not answer") {
		t.Errorf("the status does not say what is not on the server:\n%s", status)
	}
	if stored := rig.Stored(t, two.server.Store); stored > 100_000 {
		t.Errorf("the server has %d bytes", stored)
	}
	m.Kill()

	rig.Must(t, two.server.Start())
	m = two.laptop.Mount(t, two.addr, two.mnt) // it knows of the spool
	rig.Same(t, "after a kill", rig.ReadTree(t, source), rig.ReadTree(t, m.Path("first")))
	two.laptop.Run(t, "sync", "--remote", two.mnt)
	m.Unmount(t)
	two.see(t, other, "on another machine", "first", source)

	m = two.laptop.Mount(t, two.addr, two.mnt, "--spool", spool)
	two.server.Kill()
	rig.CopyTree(t, source, m.Path("second"))
	if said := unmountNotes(t, two.laptop, two.mnt); !strings.Contains(said, "in the spool and not on the server") {
		t.Errorf("umount does not say what is left: %q", said)
	}
	<-m.Done()
	rig.Must(t, two.server.Start())
	code, _, stderr := other.Try(t, "mount", two.addr, filepath.Join(two.dir, "refused"))
	if code != exitLocked || !strings.Contains(stderr, "spool") || !strings.Contains(stderr, "--take-over") {
		t.Errorf("another machine while there is something in the spool: exit code %d, %s", code, stderr)
	}
	code, _, stderr = two.laptop.Try(t, "mount", two.addr, two.mnt, "--spool", spool+"2")
	if code != exitUsage || !strings.Contains(stderr, spool) {
		t.Errorf("another spool while there is something in the first: exit code %d, %s", code, stderr)
	}
	// Reading commands know of it too.
	if got := two.laptop.Run(t, "cat", two.addr+":/second/http.go"); got != string(mustRead(t, filepath.Join(source, "http.go"))) {
		t.Errorf("cat of a file in the spool gives %d bytes", len(got))
	}
	m = two.laptop.Mount(t, two.addr, two.mnt, "--spool", spool)
	two.laptop.Run(t, "sync", "--remote", two.mnt)
	m.Unmount(t)
	if left := rig.Chunks(t, spool); len(left) > 0 {
		t.Errorf("the spool has %q after the end", left)
	}
	two.see(t, other, "on another machine", "second", source)
	if _, stdout, _ := two.server.Scrub(t); strings.Contains(stdout, "damage") {
		t.Errorf("scrub of the server: %s", stdout)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	rig.Must(t, err)
	return b
}

func unmountNotes(t *testing.T, u *rig.User, mnt string) string {
	t.Helper()
	code, _, stderr := u.Try(t, "umount", mnt)
	if code != 0 {
		t.Fatalf("umount: exit code %d, %s", code, stderr)
	}
	return stderr
}

// TestSpoolFull: when the spool is full and the server away, writers wait, and readers do not; they go on when the server
// is back.
func TestSpoolFull(t *testing.T) {
	two := newTwoMachines(t)
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt,
		"--spool", filepath.Join(two.dir, "spool"), "--spool-limit", "16MiB", "--buffers", "12")
	other := two.another(t, "other")
	want := filepath.Join(two.dir, "want")
	rig.Must(t, os.Mkdir(want, 0o755), os.WriteFile(m.Path("before"), []byte("before"), 0o644))
	random := make([]byte, 4<<20)
	for i := range 8 {
		rand.Read(random)
		rig.Must(t, os.WriteFile(filepath.Join(want, string(rune('a'+i))), random, 0o644))
	}
	m.Sync(t)
	two.server.Kill()
	written := make(chan error, 1)
	go func() {
		out, err := exec.Command("cp", "-a", want, m.Path("files")).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		written <- err
	}()
	awaitStatus(t, two.laptop, `"waiting": true`)
	if b, err := os.ReadFile(m.Path("before")); err != nil || !bytes.Equal(b, []byte("before")) {
		t.Errorf("a reader while the spool is full: %q, %v", b, err)
	}
	select {
	case err := <-written:
		t.Errorf("32 MiB went into a spool of 16: %v", err)
	default:
	}
	rig.Must(t, two.server.Start())
	rig.Must(t, <-written)
	two.laptop.Run(t, "sync", "--remote", two.mnt)
	m.Unmount(t)
	two.see(t, other, "on another machine", "files", want)
}

// TestTakeOver: a machine with something in its spool is cut off from the server, and another one takes the volume over.
// The first one, still mounted, is told so when it is back; mounted again, what it had becomes a branch that both can
// read, and the volume is as the other machine has it.
func TestTakeOver(t *testing.T) {
	dir := t.TempDir()
	server := rig.NewUser(t, filepath.Join(dir, "host")).Serve(t, filepath.Join(dir, "store"))
	relay := rig.NewRelay(t, server.Address)
	laptop, other := rig.NewUser(t, filepath.Join(dir, "laptop")), rig.NewUser(t, filepath.Join(dir, "other"))
	mnt, spool := filepath.Join(dir, "mnt"), filepath.Join(dir, "spool")
	laptops, others := "coffer://"+relay.Address, "coffer://"+server.Address
	m := laptop.Mount(t, server.Invite(t, "laptop", relay.Address), mnt, "--spool", spool)
	recovery := secretFile(t, filepath.Join(dir, "recovery"), laptop.Run(t, "key", "export", laptops))
	other.Run(t, "key", "import", server.Invite(t, "other", server.Address, "--with", "laptop"), recovery)
	write := func(m *rig.Mount, name, content string) {
		t.Helper()
		rig.Must(t, os.WriteFile(m.Path(name), []byte(content), 0o644))
	}
	write(m, "shared", "both saw it")
	laptop.Run(t, "sync", "--remote", mnt)
	relay.Hole(true)
	relay.Reset(1 << 20)
	write(m, "late", "only in the spool")
	write(m, "shared", "changed on the laptop")
	m.Sync(t)

	theirs := filepath.Join(dir, "theirs")
	rig.Must(t, os.Mkdir(theirs, 0o755))
	code, _, stderr := other.Try(t, "mount", others, theirs)
	if code != exitLocked || !strings.Contains(stderr, "--take-over") {
		t.Errorf("without --take-over: exit code %d, %s", code, stderr)
	}
	om := other.Mount(t, others, theirs, "--take-over")
	write(om, "new", "from the other machine")
	om.Unmount(t)

	relay.Hole(false)
	relay.Reset(1 << 20)
	awaitStatus(t, laptop, "a later session of the volume has begun")
	if err := os.WriteFile(m.Path("more"), nil, 0o644); err == nil {
		t.Error("a file is made in a volume that another machine has gone on with")
	}
	if b, err := os.ReadFile(m.Path("late")); err != nil || string(b) != "only in the spool" {
		t.Errorf("what is in the spool reads as %q, %v", b, err)
	}
	m.Kill()

	m = laptop.Mount(t, laptops, mnt)
	name := regexp.MustCompile(`main\.branch-[0-9a-f]+`).FindString(m.Log())
	if name == "" {
		t.Fatalf("the mount does not say where the spool went:\n%s", m.Log())
	}
	want := func(m *rig.Mount, files map[string]string) {
		t.Helper()
		for file, content := range files {
			if b, err := os.ReadFile(m.Path(file)); content != "" && (err != nil || string(b) != content) || content == "" && err == nil {
				t.Errorf("%s: %q, %v; want %q", file, b, err, content)
			}
		}
	}
	want(m, map[string]string{"shared": "both saw it", "new": "from the other machine", "late": ""})
	write(m, "goes on", "as ever")
	m.Unmount(t)
	for address, u := range map[string]*rig.User{laptops: laptop, others: other} {
		m := u.Mount(t, address, mnt, "--volume", name)
		want(m, map[string]string{"shared": "changed on the laptop", "late": "only in the spool", "new": ""})
		m.Unmount(t)
	}
	if code, stdout, stderr := server.Scrub(t); code != 0 {
		t.Errorf("scrub of a server with a branch: exit code %d\n%s%s", code, stdout, stderr)
	}
	if left := rig.Chunks(t, spool); len(left) > 0 {
		t.Errorf("the spool has %q", left)
	}
}
