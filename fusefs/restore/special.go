package restore

import (
	"errors"

	"golang.org/x/sys/unix"
)

// special restores what has no content: a symbolic link, a device, a FIFO, a socket.
func (r *Run) special(f *file) error {
	d, err := r.draft(f.in, func(at int, name string) error {
		if f.Mode&unix.S_IFMT == unix.S_IFLNK {
			return unix.Symlinkat(f.Target, at, name)
		}
		return unix.Mknodat(at, name, f.Mode&unix.S_IFMT|0o600, int(f.Rdev))
	})
	if err != nil {
		return err
	}
	err = r.settle(target{fd: -1, at: d.at, name: d.name}, f.ino, &f.Inode)
	if err == nil {
		err = d.place(f.name)
	}
	if err == nil {
		r.report.files.Add(1)
	}
	return errors.Join(err, d.drop())
}
