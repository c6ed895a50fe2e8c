package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"coffer/test/compare"
	"coffer/test/rig"
)

// twoMachines are a server and a client with a network between them.
type twoMachines struct {
	net    *rig.Net
	server *rig.Server
	laptop *rig.User
	dir    string
	mnt    string
	addr   string
}

func newTwoMachines(t *testing.T) *twoMachines {
	t.Helper()
	dir := t.TempDir()
	m := &twoMachines{net: rig.NewNet(t), dir: dir, mnt: filepath.Join(dir, "mnt")}
	m.server = m.net.Host(t).User(t, filepath.Join(dir, "host")).Serve(t, filepath.Join(dir, "store"))
	m.laptop = m.net.Host(t).User(t, filepath.Join(dir, "laptop"))
	m.addr = "coffer://" + m.server.Address
	return m
}

// TestTwoMachines copies a tree to a server, and wants it back unchanged: at once, after a new mount, after the index
// was lost, after the server has ended and come back, and on a third machine that has nothing but the recovery key.
func TestTwoMachines(t *testing.T) {
	source := filepath.Join(goRoot(t), "src", "net")
	if os.Getenv("COFFER_WHOLE_TREE") == "1" {
		source = goRoot(t)
	}
	want := rig.ReadTree(t, source)
	two := newTwoMachines(t)
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt)
	m.Watch(t, 15*time.Minute)
	rig.CopyTree(t, source, m.Path("tree"))
	m.Sync(t)
	rig.Same(t, "after the copy", want, rig.ReadTree(t, m.Path("tree")))
	m.Unmount(t)

	check := func(when string, u *rig.User) {
		t.Helper()
		m := u.Mount(t, two.addr, two.mnt)
		rig.Same(t, when, want, rig.ReadTree(t, m.Path("tree")))
		m.Unmount(t)
	}
	check("mounted again", two.laptop)
	two.laptop.Run(t, "restore", two.addr+":/tree", "--to", filepath.Join(two.dir, "restored"))
	rig.Same(t, "restored", want, rig.ReadTree(t, filepath.Join(two.dir, "restored")))
	two.laptop.DropIndex(t)
	check("index lost", two.laptop)
	two.server.Stop()
	rig.DropCatalogs(t, two.server.Store)
	rig.Must(t, two.server.Start())
	check("catalog lost", two.laptop)

	recovery := filepath.Join(two.dir, "recovery")
	rig.Must(t, os.WriteFile(recovery, []byte(two.laptop.Run(t, "key", "export", two.addr)), 0o600))
	third := two.net.Host(t).User(t, filepath.Join(two.dir, "third"))
	code, _, stderr := third.Try(t, "mount", two.addr, two.mnt)
	if code != 26 || !strings.Contains(stderr, "not known here") {
		t.Errorf("without an invitation: exit code %d, %s", code, stderr)
	}
	invitation := two.server.Invite(t, "third", two.server.Address, "--with", "laptop")
	third.Run(t, "key", "import", invitation, recovery)
	check("on a third machine", third)
	code, _, stderr = two.net.Host(t).User(t, filepath.Join(two.dir, "fourth")).Try(t, "mount", invitation, two.mnt)
	if code != 26 || !strings.Contains(stderr, "does not let this machine in") {
		t.Errorf("with a used invitation: exit code %d, %s", code, stderr)
	}
}

// TestNewClient: a machine that comes to a volume for the first time has its tree and its archives without reading much
// of what is stored: a checkpoint, and the log behind it. So it is again when the server has lost its catalog, and when
// the writer has crashed.
func TestNewClient(t *testing.T) {
	two := newTwoMachines(t)
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt, "--checkpoint-after", "16KiB")
	rig.CopyTree(t, filepath.Join(goRoot(t), "src", "net"), m.Path("tree"))
	before := rig.ReadTree(t, m.Path("tree"))
	two.laptop.Run(t, "snapshot", two.mnt, "-m", "before")
	for k := range 8 { // what a checkpoint need not say of files is what they were before
		rig.Output(t, "chmod", "-R", fmt.Sprintf("u=rwX,go=%s", []string{"r", "rX", "w", ""}[k%4]), m.Path("tree"))
		two.laptop.Run(t, "sync", two.mnt)
	}
	m.Unmount(t)
	m = two.laptop.Mount(t, two.addr, two.mnt)
	rig.Must(t, os.Rename(m.Path("tree", "url"), m.Path("tree", "moved")))
	m.Sync(t)
	after := rig.ReadTree(t, m.Path("tree"))
	m.Kill()

	recovery := filepath.Join(two.dir, "recovery")
	rig.Must(t, os.WriteFile(recovery, []byte(two.laptop.Run(t, "key", "export", two.addr)), 0o600))
	newcomer := func(name string) *rig.User {
		t.Helper()
		host := two.net.Host(t)
		u := host.User(t, filepath.Join(two.dir, name))
		u.Run(t, "key", "import", two.server.Invite(t, name, two.server.Address, "--with", "laptop"), recovery)
		start := host.Received(t)
		out := u.Run(t, "ls", two.addr+":/tree")
		read, stored := host.Received(t)-start, rig.Stored(t, two.server.Store)
		t.Logf("%s: %d bytes read to list a directory, of %d that are stored", name, read, stored)
		if read > stored/8 || !strings.Contains(out, "moved") {
			t.Errorf("%s read %d bytes of %d to list a directory:\n%s", name, read, stored, out)
		}
		return u
	}
	newcomer("third") // while the dead writer has its lease
	two.laptop.Mount(t, two.addr, two.mnt).Unmount(t)
	two.server.Stop()
	rig.DropCatalogs(t, two.server.Store)
	rig.Must(t, two.server.Start())
	m = newcomer("fourth").Mount(t, two.addr, two.mnt)
	rig.Same(t, "fourth", after, rig.ReadTree(t, m.Path("tree")))
	rig.Same(t, "fourth, an archive", before, rig.ReadTree(t, m.Path(".snapshots", "before", "tree")))
	m.Unmount(t)
}

// TestReadOnlyElsewhere follows, on a machine of its own, what another one writes to a server, also while that is away for a
// time. Whoever follows doesn't have the lease.
func TestReadOnlyElsewhere(t *testing.T) {
	two := newTwoMachines(t)
	source := filepath.Join(goRoot(t), "src", "net", "http", "internal")
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt)
	recovery := filepath.Join(two.dir, "recovery")
	rig.Must(t, os.WriteFile(recovery, []byte(two.laptop.Run(t, "key", "export", two.addr)), 0o600))
	other := two.net.Host(t).User(t, filepath.Join(two.dir, "other"))
	other.Run(t, "key", "import", two.server.Invite(t, "other", two.server.Address, "--with", "laptop"), recovery)
	follows := other.Mount(t, two.addr, two.mnt+".follows", "--read-only")
	beside := other.Mount(t, two.addr, two.mnt+".beside", "--read-only")
	rig.CopyTree(t, source, m.Path("tree"))
	m.Sync(t)
	want := rig.ReadTree(t, source)
	awaitTree := func(what, dir string) {
		t.Helper()
		await(t, what, func() bool {
			_, err := os.Stat(dir)
			return err == nil && len(compare.Diff(want, rig.ReadTree(t, dir))) == 0
		})
	}
	awaitTree("what was synced", follows.Path("tree"))
	awaitTree("what was synced, in another mount", beside.Path("tree"))
	programs(t, source, follows.Path("tree"))
	changes(t, follows.Path("tree"), "chunked.go")
	if code, _, stderr := other.Try(t, "mount", two.addr, filepath.Join(two.dir, "writes")); code != 17 {
		t.Errorf("a second mount that writes: exit code %d, %s", code, stderr)
	}
	beside.Unmount(t)

	two.server.Kill()
	awaitStatus(t, other, `"last_error": "the store has not answered since`)
	if got, err := os.ReadDir(follows.Path("tree")); err != nil || len(got) == 0 {
		t.Errorf("while the server is away: %d entries, %v", len(got), err)
	}
	rig.Must(t, two.server.Start(), os.WriteFile(m.Path("since"), []byte("seen"), 0o644))
	two.laptop.Run(t, "snapshot", two.mnt, "-m", "since")
	await(t, "what was written since", func() bool {
		b, err := os.ReadFile(follows.Path(".snapshots", "since", "since"))
		return err == nil && string(b) == "seen"
	})
	archive := other.Mount(t, two.addr, two.mnt+".archive", "--at", "since")
	rig.Must(t, os.Remove(m.Path("since")))
	m.Unmount(t)
	await(t, "that it is removed", func() bool { _, err := os.Stat(follows.Path("since")); return os.IsNotExist(err) })
	if b, err := os.ReadFile(archive.Path("since")); err != nil || string(b) != "seen" {
		t.Errorf("the archive that is mounted: %q, %v", b, err)
	}
	archive.Unmount(t)
	// The one that follows takes nothing from who writes.
	m = other.Mount(t, two.addr, two.mnt)
	m.Unmount(t)
	follows.Unmount(t)
}

// TestServerAway: what the index knows answers while the server is away, what waits for it goes on when it is back, and
// with --timeout it fails instead.
func TestServerAway(t *testing.T) {
	two := newTwoMachines(t)
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt)
	rig.Must(t, os.WriteFile(m.Path("before"), []byte("stored"), 0o644))
	m.Sync(t)
	two.server.Kill()
	rig.Output(t, "timeout", "20", "ls", "-l", m.Dir)
	rig.Output(t, "timeout", "20", "stat", m.Path("before"))
	rig.Output(t, "timeout", "20", "df", m.Dir)
	rig.Must(t, os.WriteFile(m.Path("meanwhile"), []byte("pending"), 0o644))
	synced := make(chan error, 1)
	go func() {
		f, err := os.Open(m.Path("meanwhile"))
		if err == nil {
			err = f.Sync()
			f.Close()
		}
		synced <- err
	}()
	awaitStatus(t, two.laptop, `"attached": false`)
	if code, _, stderr := two.laptop.Try(t, "mount", two.addr, filepath.Join(two.dir, "second")); code != 27 {
		t.Errorf("a mount without a server: exit code %d, %s", code, stderr)
	}
	select {
	case err := <-synced:
		t.Errorf("an fsync without a server returned: %v", err)
	default:
	}
	rig.Must(t, two.server.Start())
	rig.Must(t, <-synced)
	m.Unmount(t)

	m = two.laptop.Mount(t, two.addr, two.mnt, "--timeout", "2s")
	if b, err := os.ReadFile(m.Path("meanwhile")); err != nil || string(b) != "pending" {
		t.Errorf("%q, %v", b, err)
	}
	two.server.Kill()
	rig.Must(t, os.WriteFile(m.Path("late"), []byte("late"), 0o644))
	f, err := os.Open(m.Path("late"))
	rig.Must(t, err)
	if err := f.Sync(); err == nil {
		t.Error("an fsync without a server succeeded")
	}
	rig.Must(t, f.Close(), two.server.Start())
	m.Sync(t)
	m.Unmount(t)
}

// TestFsyncBesideStream: an fsync behind a stream on a slow way waits for about as much as the way carries in a second, and
// not for all that the pipe could hold.
func TestFsyncBesideStream(t *testing.T) {
	const rate = 1 << 20 // bytes a second
	two := newTwoMachines(t)
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt)
	two.laptop.Host.Limit(t, rate)
	stop := make(chan struct{})
	streamed := make(chan error, 1)
	go func() { streamed <- stream(m.Path("stream"), stop) }()
	awaitStatus(t, two.laptop, `"bytes_per_second": [1-9]`)
	for i := range 4 {
		path := m.Path(fmt.Sprint("beside", i))
		rig.Must(t, os.WriteFile(path, noise(10_000), 0o644))
		s := statusOf(t, two.laptop)
		if most := int64(rate * 5 / 2); s.Pending > most || s.Server.Bound > most {
			t.Errorf("%d bytes are pending, of %d that may be; the way carries %d a second", s.Pending, s.Server.Bound, rate)
		}
		f, err := os.Open(path)
		rig.Must(t, err)
		begun := time.Now()
		rig.Must(t, f.Sync(), f.Close())
		t.Logf("an fsync with %d bytes pending, of %d that may be, took %v", s.Pending, s.Server.Bound, time.Since(begun))
	}
	close(stop)
	rig.Must(t, <-streamed)
	m.Unmount(t)
}

// stream writes to a file until it is told to stop.
func stream(path string, stop <-chan struct{}) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		select {
		case <-stop:
			return f.Close()
		default:
		}
		if _, err := f.Write(noise(256 << 10)); err != nil {
			return err
		}
	}
}

// mountStatus is what a test wants to know of a mount.
type mountStatus struct {
	Pending int64 `json:"bytes_pending"`
	Server  struct {
		Bound int64 `json:"bytes_pending_bound"`
	} `json:"server"`
}

// statusOf is the status of a user's one mount.
func statusOf(t *testing.T, u *rig.User) mountStatus {
	t.Helper()
	var all []mountStatus
	rig.Must(t, json.Unmarshal([]byte(u.Run(t, "status", "--json")), &all))
	if len(all) != 1 {
		t.Fatalf("%d mounts", len(all))
	}
	return all[0]
}

// awaitStatus waits until a user's status says what a regular expression does.
func awaitStatus(t *testing.T, u *rig.User, what string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		out := u.Run(t, "status", "--json")
		if regexp.MustCompile(what).MatchString(out) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the status does not say %s:\n%s", what, out)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestNothingReadable looks for a word in all that goes over the network, and in all that the server has.
func TestNothingReadable(t *testing.T) {
	const canary = "canary-of-the-network"
	two := newTwoMachines(t)
	trace := filepath.Join(two.dir, "trace")
	dump := exec.Command("nsenter", "--net=/run/netns/"+two.laptop.Host.Name, "tcpdump", "-i", "eth0", "-U", "--immediate-mode", "-w", trace, "-Z", "root")
	var log bytes.Buffer
	dump.Stderr = &log
	rig.Must(t, dump.Start())
	defer func() { dump.Process.Kill(); dump.Wait() }()
	awaitFile(t, trace)
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt)
	rig.Must(t,
		os.Mkdir(m.Path(canary), 0o755),
		os.WriteFile(m.Path(canary, "file-"+canary), bytes.Repeat([]byte(canary), 5000), 0o644),
		os.Symlink(canary, m.Path("link")))
	rig.Output(t, "setfattr", "-n", "user."+canary, "-v", canary, m.Path(canary))
	m.Unmount(t)
	m = two.laptop.Mount(t, two.addr, two.mnt)
	if b, err := os.ReadFile(m.Path(canary, "file-"+canary)); err != nil || len(b) != 5000*len(canary) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	m.Unmount(t)
	rig.Must(t, dump.Process.Signal(os.Interrupt))
	dump.Wait()
	seen, err := os.ReadFile(trace)
	rig.Must(t, err)
	if len(seen) < 10_000 {
		t.Fatalf("the trace has %d bytes: %s", len(seen), log.String())
	}
	for _, word := range []string{canary, "network", "file-"} {
		if bytes.Contains(seen, []byte(word)) {
			t.Errorf("%q went over the network", word)
		}
	}
	for _, dir := range []string{two.server.Store, filepath.Join(two.dir, "host")} {
		if out, err := exec.Command("grep", "-r", "-l", "-a", canary, dir).CombinedOutput(); err == nil {
			t.Errorf("the server has it in %s", out)
		}
	}
}

// awaitFile waits until a file is there.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	for range 200 {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s does not appear", path)
}
