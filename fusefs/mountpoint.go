package fusefs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"coffer/fusefs/device"
)

// Why a directory can't be mounted on. Each is wrapped with the path and, where there is one, the remedy.
var (
	// ErrNotDirectory: the mount point is missing or is no directory.
	ErrNotDirectory = errors.New("mount point is not a directory")
	// ErrNotEmpty: the mount point holds files, which the mount would hide.
	ErrNotEmpty = errors.New("mount point is not empty")
	// ErrMounted: something is mounted there already.
	ErrMounted = errors.New("mount point is in use: a file system is mounted there")
	// ErrStale: the mount of a server that died is still there.
	ErrStale = errors.New("mount point is stale: its server is gone")
	// ErrNoFuse: the kernel offers no FUSE, or this user may not use it.
	ErrNoFuse = errors.New("FUSE is not available")
)

// mountInfo is what the kernel's mount table says of one mount.
type mountInfo struct {
	device string // major:minor
	kind   string // "fuse.coffer", "ext4", …
}

// checkMountPoint says whether a file system can be mounted on the absolute path dir. The mount table is asked
// before the directory itself: a stat under a mount of a server that hangs would hang too.
func checkMountPoint(dir string) error {
	m, mounted, err := findMount(dir)
	if err != nil {
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	if mounted {
		if strings.HasPrefix(m.kind, "fuse") && isStale(dir) {
			return fmt.Errorf("mount on %s: %w; `fusermount3 -uz %s` clears it", dir, ErrStale, dir)
		}
		return fmt.Errorf("mount on %s: %w (%s)", dir, ErrMounted, m.kind)
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ENOTCONN) {
			return fmt.Errorf("mount on %s: %w; `fusermount3 -uz` clears the mount above it", dir, ErrStale)
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("mount on %s: %w: %w", dir, ErrNotDirectory, err)
		}
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); err == nil {
		return fmt.Errorf("mount on %s: %w", dir, ErrNotEmpty)
	} else if err != io.EOF {
		return fmt.Errorf("mount on %s: %w", dir, err)
	}
	return nil
}

// isStale says whether dir is the root of a FUSE mount without a server. The kernel answers ENOTCONN at once.
func isStale(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == unix.ENOTCONN
}

// checkDevice says whether this process may mount at all. fusermount3 opens the device with the user's own rights.
func checkDevice() error {
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("%w: /dev/fuse: %w", ErrNoFuse, err)
	}
	if os.Geteuid() != 0 {
		if _, err := device.Fusermount(); err != nil {
			return fmt.Errorf("%w: %w", ErrNoFuse, err)
		}
	}
	return nil
}

// findMount looks for the topmost mount on exactly dir in the mount table.
func findMount(dir string) (m mountInfo, found bool, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return mountInfo{}, false, fmt.Errorf("read the mount table: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// id parent major:minor root mountpoint options… - kind source superoptions
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || unescapeMount(fields[4]) != dir {
			continue
		}
		kind, _, _ := strings.Cut(after, " ")
		m, found = mountInfo{device: fields[2], kind: kind}, true
	}
	return m, found, lines.Err()
}

// unescapeMount undoes the octal escapes that the kernel writes for blanks and backslashes.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// resolve makes dir absolute and free of symbolic links, as the mount table names it. The last element is not
// looked at, since a dead mount there can't be.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if fi, err := os.Lstat(abs); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		return filepath.EvalSymlinks(abs)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}
