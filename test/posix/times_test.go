package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// stamps are the times of an inode by the letters that cases use: access, modification, change.
func stamps(st *unix.Stat_t) map[rune]unix.Timespec {
	return map[rune]unix.Timespec{'a': st.Atim, 'm': st.Mtim, 'c': st.Ctim}
}

func later(a, b unix.Timespec) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

// touches says which times f moves on. Each effect is a path, a colon and the letters of the times that must
// grow, as in "dir:mc", in capitals if they may. All others must stay. A file that f removes is given as it
// was opened: see touchesFiles.
func (w *world) touches(f func() error, effects ...string) {
	w.Helper()
	var open []*file
	for _, e := range effects {
		path, _, _ := strings.Cut(e, ":")
		o, err := w.root.open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
		w.ok(err)
		defer o.close()
		open = append(open, o)
	}
	w.touchesFiles(f, open, effects...)
}

// touchesFiles is touches where the inodes are open.
func (w *world) touchesFiles(f func() error, open []*file, effects ...string) {
	w.Helper()
	before := make([]unix.Stat_t, len(open))
	for i, o := range open {
		var err error
		before[i], err = o.stat()
		w.ok(err)
	}
	tick()
	w.ok(f())
	for i, o := range open {
		after, err := o.stat()
		w.ok(err)
		path, letters, _ := strings.Cut(effects[i], ":")
		was, is := stamps(&before[i]), stamps(&after)
		for _, c := range "amc" {
			if strings.ContainsRune(letters, c-'a'+'A') {
				continue
			}
			switch grows := later(is[c], was[c]); {
			case strings.ContainsRune(letters, c) && !grows:
				w.Errorf("%ctime of %s did not grow: %v, then %v", c, path, was[c], is[c])
			case !strings.ContainsRune(letters, c) && is[c] != was[c]:
				w.Errorf("%ctime of %s changed: %v, then %v", c, path, was[c], is[c])
			}
		}
	}
}

// keeps says that f, which fails, changes no times.
func (w *world) keeps(f func() error, wanted unix.Errno, paths ...string) {
	w.Helper()
	effects := make([]string, len(paths))
	for i, p := range paths {
		effects[i] = p + ":"
	}
	w.touches(func() error {
		w.Helper()
		w.want(f(), wanted)
		return nil
	}, effects...)
}

func (w *world) wantTimes(path string, atime, mtime unix.Timespec) {
	w.Helper()
	st, err := w.root.lstat(path)
	w.ok(err)
	if st.Atim != atime || st.Mtim != mtime {
		w.Errorf("%s has times %v and %v, want %v and %v", path, st.Atim, st.Mtim, atime, mtime)
	}
}

// octal is a mode as people write it.
func octal(mode uint32) string { return fmt.Sprintf("%04o", mode) }
