package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// TestOrdinaryUser does everything as someone who is not root, with mounts in the background through
// fusermount3, as most users will.
func TestOrdinaryUser(t *testing.T) {
	const nobody = 65534
	letUsersMount(t)
	dir := rig.PublicDir(t)
	u := rig.NewUser(t, filepath.Join(dir, "home"))
	u.As = &syscall.Credential{Uid: nobody, Gid: nobody}
	rig.Output(t, "chown", "-R", "65534:65534", dir)
	p := place{u, filepath.Join(dir, "store"), filepath.Join(dir, "mnt")}
	shell := func(script string) string {
		t.Helper()
		cmd := exec.Command("sh", "-ec", script)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.As}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { unix.Unmount(p.mnt, unix.MNT_DETACH) })

	p.Run(t, "init", p.store)
	for _, secret := range []string{p.Identity(), u.State()} {
		var st unix.Stat_t
		if err := unix.Stat(secret, &st); err == nil && st.Mode&0o077 != 0 {
			t.Errorf("others may look into %s: mode %o", secret, st.Mode)
		}
	}
	shell("mkdir mnt source && echo hello > source/file && ln -s file source/link && mkdir source/dir")
	p.Run(t, "mount", p.store, p.mnt)
	shell("cp -a source mnt/ && cmp source/file mnt/source/file")
	p.Run(t, "sync", p.mnt)

	var status []struct {
		MountPoint string `json:"mount_point"`
		Pending    *int64 `json:"bytes_pending"`
	}
	rig.Must(t, json.Unmarshal([]byte(p.Run(t, "status", "--json")), &status))
	if len(status) != 1 || status[0].MountPoint != p.mnt || status[0].Pending == nil || *status[0].Pending != 0 {
		t.Errorf("after a sync, with one mount, status is %+v", status)
	}
	if text := p.Run(t, "status"); !strings.Contains(text, p.mnt) {
		t.Errorf("status does not name the mount:\n%s", text)
	}
	p.Run(t, "umount", p.mnt)
	p.Run(t, "mount", p.store, p.mnt)
	shell("diff -r --no-dereference source mnt/source")
	follows := p.mnt + ".follows"
	t.Cleanup(func() { unix.Unmount(follows, unix.MNT_DETACH) })
	shell("mkdir mnt.follows")
	p.Run(t, "mount", "--read-only", p.store, follows)
	shell("diff -r --no-dereference source mnt.follows/source && touch mnt.follows/new 2>&1 | grep -q 'Read-only file system'")
	p.Run(t, "umount", follows)
	p.Run(t, "umount", p.mnt)

	back := filepath.Join(dir, "back")
	rig.Output(t, "install", "-d", "-o", "65534", "-g", "65534", back)
	p.Run(t, "restore", p.store+":/source", "--to", filepath.Join(back, "source"))
	rig.Same(t, "restored", rig.ReadTree(t, filepath.Join(dir, "source")), rig.ReadTree(t, filepath.Join(back, "source")))

	// A file that can't be read is named; the rest is stored, and the exit code says that one is missing.
	rig.Must(t, os.WriteFile(filepath.Join(dir, "source", "unreadable"), []byte("of root"), 0o600))
	p.wantExit(t, exitIncomplete, "unreadable", "put", filepath.Join(dir, "source")+"/", p.store+":/put")
	p.Run(t, "mount", p.store, p.mnt)
	shell("cmp source/file mnt/put/file && test -d mnt/put/dir && ! test -s mnt/put/unreadable")
	p.Run(t, "umount", p.mnt)
}

// letUsersMount gives /dev/fuse the mode that a system with udev gives it, while the test runs.
func letUsersMount(t *testing.T) {
	t.Helper()
	info, err := os.Stat("/dev/fuse")
	rig.Must(t, err)
	if info.Mode().Perm() == 0o666 {
		return
	}
	rig.Must(t, os.Chmod("/dev/fuse", 0o666))
	t.Cleanup(func() { rig.Must(t, os.Chmod("/dev/fuse", info.Mode().Perm())) })
}
