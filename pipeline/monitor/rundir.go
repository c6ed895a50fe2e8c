package monitor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// runDir returns the directory of this user's control sockets and makes it.
func runDir() (string, error) {
	dir := filepath.Join("/run", "coffer")
	if base := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(base) {
		dir = filepath.Join(base, "coffer")
	} else if os.Getuid() != 0 {
		dir = filepath.Join(os.TempDir(), "coffer-"+strconv.Itoa(os.Getuid()))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the run directory: %w", err)
	}
	// In a temporary directory anyone could have been first.
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", fmt.Errorf("look at the run directory %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Getuid() || st.Mode&0o077 != 0 {
		return "", fmt.Errorf("the run directory %s must be a directory of yours with mode 0700", dir)
	}
	return dir, nil
}
