package posix

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// lockEnv tells another process of this program which lock to try: path, start and length.
const lockEnv = "POSIX_LOCK"

// TestLocker is the other process of the tests of locks: it tries the one in lockEnv.
func TestLocker(t *testing.T) {
	var path string
	var start, n int64
	if k, _ := fmt.Sscan(os.Getenv(lockEnv), &path, &start, &n); k != 3 {
		return // no test of its own
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	switch err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: n}); err {
	case nil:
		t.Log("given")
	case unix.EAGAIN, unix.EACCES:
		t.Log("refused")
	default:
		t.Fatal(err)
	}
}
