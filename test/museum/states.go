package museum

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// states are the archives of a frozen store, by label, oldest first. Each changes the tree below dir.
var states = []struct {
	label string
	build func(dir string) error
}{
	{"first", func(dir string) error {
		return errors.Join(
			os.MkdirAll(filepath.Join(dir, "a", "deep", "directory"), 0o750),
			write(dir, "empty", nil),
			write(dir, "a/text", bytes.Repeat([]byte("what was stored once stays readable\n"), 3000)),
			write(dir, "a/noise", noise(1, 90_000)),
			write(dir, "a/deep/directory/small", []byte("small")),
			write(dir, "\xff\xfe not UTF-8", []byte("a name is bytes")),
			os.Symlink("text", filepath.Join(dir, "a", "link")),
			os.Link(filepath.Join(dir, "a", "noise"), filepath.Join(dir, "hard")),
			unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
			unix.Lsetxattr(filepath.Join(dir, "a"), "user.color", []byte("red"), 0),
			os.Chmod(filepath.Join(dir, "empty"), 0o4711),
			hole(filepath.Join(dir, "hole"), 3<<20, []byte("at the end")))
	}},
	{"second", func(dir string) error {
		return errors.Join(
			os.Rename(filepath.Join(dir, "a", "deep"), filepath.Join(dir, "moved")),
			os.Remove(filepath.Join(dir, "a", "text")),
			write(dir, "a/noise", append(noise(1, 50_000), noise(2, 30_000)...)),
			os.Truncate(filepath.Join(dir, "hole"), 1<<20),
			unix.Lremovexattr(filepath.Join(dir, "a"), "user.color"))
	}},
	{"third", func(dir string) error {
		return errors.Join(
			os.RemoveAll(filepath.Join(dir, "moved")),
			write(dir, "again", bytes.Repeat([]byte("what was stored once stays readable\n"), 3000)),
			os.Rename(filepath.Join(dir, "hard"), filepath.Join(dir, "harder")))
	}},
}

// build brings a tree from the state before i to i, with the times that all have.
func build(dir string, i int) error {
	if err := states[i].build(dir); err != nil {
		return err
	}
	when := time.Date(2001+i, 2, 3, 4, 5, 6, 7, time.UTC)
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		t := unix.NsecToTimespec(when.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func write(dir, name string, data []byte) error {
	return os.WriteFile(filepath.Join(dir, name), data, 0o640)
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// hole makes a file that begins with a hole.
func hole(path string, off int64, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, off)
	return errors.Join(err, f.Close())
}
