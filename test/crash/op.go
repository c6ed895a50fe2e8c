package crash

import (
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

type kind string

// What an operation can be. Each is one request to the file system, so that it is done or not done.
const (
	opCreate   kind = "create"
	opOpen     kind = "open"
	opWrite    kind = "write"
	opTruncate kind = "truncate"
	opPunch    kind = "punch"
	opClose    kind = "close"
	opMkdir    kind = "mkdir"
	opRmdir    kind = "rmdir"
	opSymlink  kind = "symlink"
	opLink     kind = "link"
	opUnlink   kind = "unlink"
	opRename   kind = "rename"
	opExchange kind = "exchange"
	opChmod    kind = "chmod"
	opUtimes   kind = "utimes"
	opSetXattr kind = "setxattr"
	opDelXattr kind = "delxattr"
	opFsync    kind = "fsync"    // waits
	opFsyncBg  kind = "fsync&"   // goes on while it runs
	opFsyncDir kind = "fsyncdir" // of the directory of a name
	opSync     kind = "sync"     // coffer sync
)

// op is one operation, with all that is needed to do it again.
type op struct {
	Kind     kind
	Name, To string
	Handle   int
	Flags    int
	Off, Len int
	Seed     uint64
	Mode     uint32
}

func (o op) String() string {
	return fmt.Sprintf("%s %s %s h%d flags=%#x off=%d len=%d seed=%d mode=%o", o.Kind, o.Name, o.To, o.Handle, o.Flags, o.Off, o.Len, o.Seed, o.Mode)
}

// apply does the operation in the model, where it must be possible.
func (m *model) apply(o op) {
	switch o.Kind {
	case opCreate:
		n := &node{mode: unix.S_IFREG | o.Mode, xattrs: map[string]string{}}
		m.enter(o.Name, n)
		m.open[o.Handle] = n
	case opOpen:
		_, n := m.lookup(o.Name)
		if o.Flags&unix.O_TRUNC != 0 {
			n.resize(0)
		}
		m.open[o.Handle] = n
	case opWrite:
		m.open[o.Handle].write(o.Off, content(o.Seed, o.Len))
	case opTruncate:
		m.open[o.Handle].resize(o.Len)
	case opPunch:
		n := m.open[o.Handle]
		clear(n.data[min(o.Off, len(n.data)):min(o.Off+o.Len, len(n.data))])
		n.changed()
	case opClose:
		delete(m.open, o.Handle)
	case opMkdir:
		m.enter(o.Name, newDir(o.Mode))
	case opRmdir, opUnlink:
		m.remove(o.Name)
	case opSymlink:
		m.enter(o.Name, &node{mode: unix.S_IFLNK | 0o777, target: o.To, xattrs: map[string]string{}})
	case opLink:
		_, n := m.lookup(o.Name)
		m.enter(o.To, n)
	case opRename:
		m.rename(o.Name, o.To)
	case opExchange:
		_, a := m.lookup(o.Name)
		_, b := m.lookup(o.To)
		m.enter(o.Name, b)
		m.enter(o.To, a)
	case opChmod:
		_, n := m.lookup(o.Name)
		n.mode = n.mode&unix.S_IFMT | o.Mode
	case opUtimes:
		_, n := m.lookup(o.Name)
		n.mtime = o.time()
	case opSetXattr:
		_, n := m.lookup(o.Name)
		n.xattrs[o.To] = string(content(o.Seed, o.Len))
	case opDelXattr:
		_, n := m.lookup(o.Name)
		delete(n.xattrs, o.To)
	}
}

// rename moves a name over what may be there. Two names of one file stay as they are, as POSIX wants.
func (m *model) rename(from, to string) {
	_, n := m.lookup(from)
	if m.parent(to).children[path.Base(to)] == n {
		return
	}
	m.remove(from)
	m.enter(to, n)
}

func (o op) time() *unix.Timespec {
	return &unix.Timespec{Sec: int64(1e9 + o.Seed%1e9), Nsec: int64(o.Seed % 999_999_937)}
}

// mounted does operations on a real tree.
type mounted struct {
	dir  string
	open map[int]*os.File
	sync func() error // coffer sync
}

func (d *mounted) path(name string) string { return filepath.Join(d.dir, name) }

func (d *mounted) do(o op) error {
	switch o.Kind {
	case opCreate, opOpen:
		f, err := os.OpenFile(d.path(o.Name), o.Flags, os.FileMode(o.Mode))
		if err == nil {
			d.open[o.Handle] = f
		}
		return err
	case opWrite:
		_, err := d.open[o.Handle].WriteAt(content(o.Seed, o.Len), int64(o.Off))
		return err
	case opTruncate:
		return d.open[o.Handle].Truncate(int64(o.Len))
	case opPunch:
		const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		return unix.Fallocate(int(d.open[o.Handle].Fd()), mode, int64(o.Off), int64(o.Len))
	case opClose:
		f := d.open[o.Handle]
		delete(d.open, o.Handle)
		return f.Close()
	case opMkdir:
		return os.Mkdir(d.path(o.Name), os.FileMode(o.Mode))
	case opRmdir:
		return unix.Rmdir(d.path(o.Name))
	case opUnlink:
		return unix.Unlink(d.path(o.Name))
	case opSymlink:
		return os.Symlink(o.To, d.path(o.Name))
	case opLink:
		return os.Link(d.path(o.Name), d.path(o.To))
	case opRename:
		return unix.Rename(d.path(o.Name), d.path(o.To))
	case opExchange:
		return unix.Renameat2(unix.AT_FDCWD, d.path(o.Name), unix.AT_FDCWD, d.path(o.To), unix.RENAME_EXCHANGE)
	case opChmod:
		return unix.Chmod(d.path(o.Name), o.Mode)
	case opUtimes:
		times := []unix.Timespec{*o.time(), *o.time()}
		return unix.UtimesNanoAt(unix.AT_FDCWD, d.path(o.Name), times, unix.AT_SYMLINK_NOFOLLOW)
	case opSetXattr:
		return unix.Setxattr(d.path(o.Name), o.To, content(o.Seed, o.Len), 0)
	case opDelXattr:
		return unix.Removexattr(d.path(o.Name), o.To)
	case opFsync:
		return d.open[o.Handle].Sync()
	case opFsyncDir:
		dir, err := os.Open(filepath.Dir(d.path(o.Name)))
		if err != nil {
			return err
		}
		defer dir.Close()
		return dir.Sync()
	case opSync:
		return d.sync()
	}
	return fmt.Errorf("no such operation: %s", o.Kind)
}

// closeAll closes what is open still; the mount may be dead.
func (d *mounted) closeAll() {
	for handle, f := range d.open {
		f.Close()
		delete(d.open, handle)
	}
}
