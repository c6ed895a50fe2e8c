package restore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// draft is a file that is not complete and has no name yet, or one that says so.
type draft struct {
	r    *Run
	in   *dir
	at   int    // in, open
	fd   int    // of a regular file; else -1
	name string // its temporary one; "": it has none
}

// prefix of temporary names; 16 hexadecimal digits follow.
const prefix = ".coffer-restore-"

func temporary() string { return fmt.Sprintf("%s%016x", prefix, rand.Uint64()) }

// isTemporary knows the names of what runs that were killed left.
func isTemporary(name string) bool {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != 16 {
		return false
	}
	_, err := strconv.ParseUint(digits, 16, 64)
	return err == nil
}

// draft begins a file in a directory, of which there is nothing to be seen until place,
// or whose name nobody takes for a file's. Create, nil for a regular file, makes it. It
// must be ended with drop.
func (r *Run) draft(in *dir, create func(at int, name string) error) (_ *draft, err error) {
	d := &draft{r: r, in: in, fd: -1}
	if d.at, err = r.dirs.get(in); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.dirs.put(in)
		}
	}()
	if create == nil && !r.named.Load() {
		d.fd, err = unix.Openat(d.at, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if err == nil {
			d.inherit()
			return d, nil
		}
		if err != unix.EOPNOTSUPP && err != unix.EISDIR && err != unix.ENOENT && err != unix.EINVAL {
			return nil, written("make the file", err)
		}
		r.named.Store(true)
	}
	for {
		d.name = temporary()
		if create == nil {
			d.fd, err = unix.Openat(d.at, d.name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		} else {
			err = create(d.at, d.name)
		}
		if err == nil {
			d.inherit()
			return d, nil
		}
		if err != unix.EEXIST {
			return nil, written("make the file", err)
		}
	}
}

// inherit takes off what the directory has passed on.
func (d *draft) inherit() {
	if d.in.inherits && d.fd >= 0 {
		dropInherited(d.fd)
	} else if d.in.inherits {
		unix.Lremovexattr(entry(d.at, d.name), aclAccess) // or there is none
	}
}

// place gives the file its name. It fails with ErrThere if something has it and is not
// to be replaced.
func (d *draft) place(name string) error {
	err := d.try(name)
	if err != unix.EEXIST {
		return written("give it its name", err)
	}
	if !d.r.o.Overwrite {
		return ErrThere
	}
	if err := d.rename(name); err != unix.EISDIR {
		return written("take the place of what is there", err)
	}
	if err := remove(d.at, name); err != nil {
		return err
	}
	return written("give it its name", d.rename(name))
}

// try gives the file a name that nothing has, or fails with EEXIST.
func (d *draft) try(name string) error {
	if d.name == "" {
		return d.link(name)
	}
	err := unix.Renameat2(d.at, d.name, d.at, name, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		// The file system can't; a second name does not replace anything either.
		if err = unix.Linkat(d.at, d.name, d.at, name, 0); err != nil {
			return err
		}
		err = unix.Unlinkat(d.at, d.name, 0)
	}
	if err == nil {
		d.name = ""
	}
	return err
}

// link gives a nameless file a name.
func (d *draft) link(name string) error {
	err := unix.Linkat(d.fd, "", d.at, name, unix.AT_EMPTY_PATH)
	if err == unix.ENOENT || err == unix.EPERM {
		// That needs a capability; this needs /proc.
		err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(d.fd), d.at, name, unix.AT_SYMLINK_FOLLOW)
	}
	return err
}

// rename has the file take the place of what has the name.
func (d *draft) rename(name string) error {
	for d.name == "" {
		temp := temporary()
		if err := d.link(temp); err == nil {
			d.name = temp
		} else if err != unix.EEXIST {
			return err
		}
	}
	err := unix.Renameat(d.at, d.name, d.at, name)
	if err == nil {
		d.name = ""
	}
	return err
}

// drop closes the file, and removes it if it has no name of its own.
func (d *draft) drop() error {
	var errs []error
	if d.fd >= 0 {
		errs = append(errs, written("close the file", unix.Close(d.fd)))
	}
	if d.name != "" {
		errs = append(errs, written("remove the file", unix.Unlinkat(d.at, d.name, 0)))
	}
	d.r.dirs.put(d.in)
	return errors.Join(errs...)
}
