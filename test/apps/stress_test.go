package apps

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"coffer/test/rig"
)

// stressors are those of stress-ng that work on files and check what they find. Not io: it syncs every file system
// of the machine, and takes an error of any for a failure.
var stressors = []string{
	"access", "aio", "aiol", "chattr", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirdeep", "dirmany",
	"dnotify", "dup", "fallocate", "fcntl", "fiemap", "file-ioctl", "filename", "flock", "fpunch", "fsize", "fstat",
	"getdent", "handle", "hdd", "inode-flags", "inotify", "iomix", "lease", "link", "locka", "lockf", "lockofd",
	"mknod", "mmap", "msync", "open", "readahead", "rename", "revio", "seek", "sendfile", "splice", "symlink",
	"sync-file", "touch", "utime", "xattr",
}

// TestStress runs the file system stressors of stress-ng beside each other. COFFER_STRESS_SECONDS says for how long.
func TestStress(t *testing.T) {
	seconds := rig.Count(t, "COFFER_STRESS_SECONDS", 5)
	inModes(t, func(t *testing.T, v *volume) {
		rig.Must(t, os.Mkdir(v.Path("stress"), 0o777))
		stress(t, v.Path("stress"), seconds)
		if left := shell(t, v.mnt, "ls -A stress"); left != "" {
			t.Errorf("left behind: %s", left)
		}
		v.again()
		v.Unmount(t)
	})
}

// TestStressControl runs them on what the temporary directory is on: what fails there says nothing of a mount.
func TestStressControl(t *testing.T) {
	stress(t, t.TempDir(), rig.Count(t, "COFFER_STRESS_SECONDS", 40)/20)
}

func stress(t *testing.T, dir string, seconds int) {
	t.Helper()
	args := []string{"--temp-path", dir, "--verify", "--timeout", fmt.Sprint(seconds), "--oomable", "--skip-silent",
		"--hdd-bytes", "32m", "--fallocate-bytes", "32m", "--iomix-bytes", "32m", "--seek-size", "8m", "--revio-bytes", "16m",
		"--readahead-bytes", "16m", "--sync-file-bytes", "16m", "--mmap-bytes", "16m", "--mmap-file"}
	for _, s := range stressors {
		args = append(args, "--"+s, "1")
	}
	out, err := exec.Command("stress-ng", args...).CombinedOutput()
	failed := false
	for line := range strings.Lines(string(out)) {
		failed = failed || strings.Contains(line, "fail:")
	}
	if err != nil || failed {
		t.Errorf("stress-ng: %v\n%s", err, out)
	}
}
