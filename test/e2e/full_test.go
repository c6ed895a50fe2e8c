package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// TestFull fills the store's disk through the mount. The writer is told with ENOSPC, all that was
// acknowledged stays, the mount goes on, and writes again when there is room.
func TestFull(t *testing.T) {
	disk := rig.NewDisk(t, 16)
	filler := filepath.Join(disk.Dir, "filler")
	rig.Must(t, os.WriteFile(filler, make([]byte, 4<<20), 0o600))
	base := rig.PublicDir(t)
	p := place{rig.NewUser(t, filepath.Join(base, "home")), filepath.Join(disk.Dir, "store"), filepath.Join(base, "mnt")}
	p.Run(t, "init", p.store)
	m := p.mount(t)
	m.Watch(t, 2*time.Minute)

	acknowledged := map[string][]byte{}
	var err error
	for i := 0; err == nil; i++ {
		if i == 100 {
			t.Fatal("100 files of 512 KiB fit on a disk of 16 MiB")
		}
		name, data := fmt.Sprintf("f%02d", i), noise(512<<10)
		if err = writeSynced(m.Path(name), data); err == nil {
			acknowledged[name] = data
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("on a full disk the writer is told %v, want ENOSPC", err)
	}
	if len(acknowledged) < 4 {
		t.Errorf("only %d files fitted", len(acknowledged))
	}
	verify(t, m, acknowledged)
	if err := os.Remove(m.Path("f00")); err != nil {
		t.Errorf("a full disk must not keep names from being removed: %v", err)
	}
	delete(acknowledged, "f00")

	// Not even what describes a new directory fits now: the mount stays rather than lose it.
	last := filepath.Join(disk.Dir, "last")
	fill(t, last)
	rig.Must(t, os.Mkdir(m.Path("pending"), 0o755), unix.Setxattr(m.Path("pending"), "user.noise", noise(32<<10), 0))
	p.wantExit(t, exitFull, "mount stays", "umount", p.mnt)
	verify(t, m, acknowledged)

	rig.Must(t, os.Remove(filler), os.Remove(last))
	data := noise(512 << 10)
	rig.Must(t, writeSynced(m.Path("again"), data)) // at once
	acknowledged["again"] = data
	verify(t, m, acknowledged)
	m.Unmount(t)
	m = p.mount(t)
	verify(t, m, acknowledged)
	if _, err := os.Lstat(m.Path("pending")); err != nil {
		t.Errorf("what was pending on the full disk is lost: %v", err)
	}
	if _, err := os.Lstat(m.Path("f00")); !os.IsNotExist(err) {
		t.Errorf("what was removed is back: %v", err)
	}
	m.Unmount(t)
}

// TestFullAtTheEnd unmounts when there may be no room to seal the archive: nothing is lost, nothing waits.
func TestFullAtTheEnd(t *testing.T) {
	disk := rig.NewDisk(t, 16)
	base := rig.PublicDir(t)
	p := place{rig.NewUser(t, filepath.Join(base, "home")), filepath.Join(disk.Dir, "store"), filepath.Join(base, "mnt")}
	p.Run(t, "init", p.store)
	last := filepath.Join(disk.Dir, "last")
	acknowledged := map[string][]byte{}
	for i := range 4 {
		m := p.mount(t)
		m.Watch(t, time.Minute)
		name, data := fmt.Sprintf("f%d", i), noise(1000*(i+1))
		rig.Must(t, writeSynced(m.Path(name), data))
		acknowledged[name] = data
		fill(t, last)
		code, _, stderr := p.Try(t, "umount", p.mnt)
		if code != 0 && (code != exitFull || !strings.Contains(stderr, "is not sealed")) {
			t.Errorf("umount ends with %d: %s", code, stderr)
		}
		<-m.Done()
		rig.Must(t, os.Remove(last))
		m = p.mount(t)
		verify(t, m, acknowledged)
		m.Unmount(t)
	}
}

func noise(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

// fill writes a file until its disk takes nothing more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	rig.Must(t, err)
	defer f.Close()
	for _, n := range []int{64 << 10, 4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, n))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	rig.Must(t, f.Sync())
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func verify(t *testing.T, m *rig.Mount, want map[string][]byte) {
	t.Helper()
	for name, data := range want {
		if got, err := os.ReadFile(m.Path(name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s was acknowledged and is not there: %v, %d bytes of %d", name, err, len(got), len(data))
		}
	}
}

// TestManyOpen writes to 10,000 files in turn that are all open, through a pool of 16 buffers.
func TestManyOpen(t *testing.T) {
	const files, rounds = 10_000, 3
	limit := unix.Rlimit{Cur: files + 1000, Max: files + 1000}
	rig.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	p := newPlace(t)
	m := p.mount(t, "--buffers", "16")
	m.Watch(t, 10*time.Minute)
	open := make([]*os.File, files)
	for i := range open {
		var err error
		open[i], err = os.Create(m.Path(fmt.Sprintf("%05d", i)))
		rig.Must(t, err)
	}
	for round := range rounds {
		for i, f := range open {
			_, err := f.Write(roundOf(i, round))
			rig.Must(t, err)
		}
	}
	for _, f := range open {
		rig.Must(t, f.Close())
	}
	check := func() {
		t.Helper()
		for i := range files {
			want := bytes.Join([][]byte{roundOf(i, 0), roundOf(i, 1), roundOf(i, 2)}, nil)
			if got, err := os.ReadFile(m.Path(fmt.Sprintf("%05d", i))); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("file %d: %v, %d bytes of %d", i, err, len(got), len(want))
			}
		}
	}
	check()
	m.Unmount(t)
	m = p.mount(t, "--buffers", "16")
	check()
	m.Unmount(t)
}

// roundOf is what is written to a file in a round: sizes differ, so that no boundary is everybody's.
func roundOf(file, round int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", file, round)), 1+(file*7+round*13)%400)
}
