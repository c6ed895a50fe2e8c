package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// op is one operation, the same for the model and the tree.
type op struct {
	Kind   string
	A, B   string // paths
	Slot   int
	Off, N int
	Mode   uint32
	Flags  int
}

var fileOps = []string{"open", "close", "write", "write", "write", "append", "read", "read", "punch", "zero", "falloc", "truncate", "ftruncate", "seek", "copy"}
var nameOps = []string{"create", "create", "mkdir", "symlink", "mknod", "link", "unlink", "rmdir", "rename", "rename", "exchange", "noreplace", "lookup", "readdir", "tmpfile"}
var attrOps = []string{"chmod", "chown", "utimes", "setxattr", "getxattr", "removexattr"}

// genOps draws many operations below dir ("" for the root) on the slots from base
// on. They begin with directories and open files to work on.
func genOps(dir string, base int, kinds []string) *rapid.Generator[[]op] {
	in := func(path string) string { return strings.TrimPrefix(dir+"/"+path, "/") }
	path := rapid.Custom(func(t *rapid.T) string {
		name := rapid.SampledFrom([]string{"a", "b", "f", "g"})
		p := name.Draw(t, "name")
		if rapid.IntRange(0, 2).Draw(t, "deep") == 0 {
			p = rapid.SampledFrom([]string{"a", "b", "a/a"}).Draw(t, "dir") + "/" + p
		}
		return in(p)
	})
	one := rapid.Custom(func(t *rapid.T) op {
		return op{
			Kind:  rapid.SampledFrom(kinds).Draw(t, "kind"),
			A:     path.Draw(t, "a"),
			B:     path.Draw(t, "b"),
			Slot:  base + rapid.IntRange(0, 2).Draw(t, "slot"),
			Off:   rapid.IntRange(0, 90).Draw(t, "off"),
			N:     rapid.IntRange(1, 60).Draw(t, "n"),
			Mode:  rapid.SampledFrom([]uint32{0o644, 0o755, 0o4755, 0o2755, 0o2644, 0o700}).Draw(t, "mode"),
			Flags: rapid.SampledFrom([]int{unix.O_RDWR, unix.O_RDWR, unix.O_RDWR | unix.O_APPEND, unix.O_RDWR | unix.O_TRUNC, unix.O_RDWR | unix.O_EXCL}).Draw(t, "flags"),
		}
	})
	return rapid.Custom(func(t *rapid.T) []op {
		ops := []op{
			{Kind: "mkdir", A: in("a"), Mode: 0o755},
			{Kind: "mkdir", A: in("b"), Mode: 0o2755},
			{Kind: "mkdir", A: in("a/a"), Mode: 0o755},
			{Kind: "create", A: in("f"), Mode: 0o4755, Slot: base, Flags: unix.O_RDWR},
			{Kind: "create", A: in("a/f"), Mode: 0o644, Slot: base + 1, Flags: unix.O_RDWR},
		}
		return append(ops, rapid.SliceOfN(one, 20, 120).Draw(t, "ops")...)
	})
}

// payload is what o writes: zeros now and then, the same bytes again, or noise.
func payload(o op) []byte {
	p := make([]byte, o.N)
	if o.Mode == 0o700 {
		return p
	}
	noise := rand.NewPCG(uint64(o.Off), uint64(o.N))
	for k := range p {
		p[k] = byte(noise.Uint64())
	}
	return p
}

// value is what o sets an extended attribute to.
func value(o op) []byte {
	p := payload(o)
	return p[:min(len(p), 100)]
}

// scaled makes the offsets and lengths of ops larger.
func scaled(ops []op, by int) []op {
	for k := range ops {
		ops[k].Off, ops[k].N = ops[k].Off*by, ops[k].N*by+ops[k].N
	}
	return ops
}

var someone = Caller{Uid: 7, Gid: 8}

// apply does o to the model and says what is to be seen.
func (m *model) apply(o op) (out string, err error) {
	h := m.open[o.Slot]
	switch o.Kind {
	case "create":
		n, err := m.make(o.A, unix.S_IFREG|o.Mode, "", someone)
		if err == unix.EEXIST && o.Flags&unix.O_EXCL == 0 {
			n, err = m.walk(o.A)
			if err == nil {
				err = opens(n)
			}
			if err == nil && o.Flags&unix.O_TRUNC != 0 {
				m.resize(n, 0)
				m.changed(n)
				delete(n.xattrs, capsName)
			}
		}
		if err == nil {
			m.open[o.Slot] = &openNode{n, o.Flags}
		}
		return "", err
	case "tmpfile":
		n, err := m.walk(o.A)
		if err == nil && !n.isDir() {
			err = unix.ENOTDIR
		}
		if err == nil {
			t := m.node(unix.S_IFREG|o.Mode, someone)
			t.nlink = 0
			if n.mode&unix.S_ISGID != 0 {
				t.gid = n.gid
			}
			m.open[o.Slot] = &openNode{t, o.Flags}
		}
		return "", err
	case "open":
		n, err := m.walk(o.A)
		if err == nil {
			err = opens(n)
		}
		if err == nil {
			if o.Flags&unix.O_TRUNC != 0 {
				m.resize(n, 0)
				m.changed(n)
				delete(n.xattrs, capsName)
			}
			m.open[o.Slot] = &openNode{n, o.Flags}
		}
		return "", err
	case "mkdir":
		_, err = m.make(o.A, unix.S_IFDIR|o.Mode, "", someone)
	case "symlink":
		_, err = m.make(o.A, unix.S_IFLNK|0o777, o.B, someone)
	case "mknod":
		_, err = m.make(o.A, unix.S_IFIFO|o.Mode, "", someone)
	case "link":
		err = m.link(o.A, o.B)
	case "unlink":
		err = m.remove(o.A, false)
	case "rmdir":
		err = m.remove(o.A, true)
	case "rename":
		err = m.rename(o.A, o.B, 0)
	case "exchange":
		err = m.rename(o.A, o.B, unix.RENAME_EXCHANGE)
	case "noreplace":
		err = m.rename(o.A, o.B, unix.RENAME_NOREPLACE)
	case "lookup":
		n, err := m.walk(o.A)
		if err != nil {
			return "", err
		}
		return n.line("", true), nil
	case "readdir":
		n, err := m.walk(o.A)
		if err == nil && !n.isDir() {
			err = unix.ENOTDIR
		}
		if err != nil {
			return "", err
		}
		var names []string
		for name := range n.entries {
			names = append(names, name)
		}
		sort.Strings(names)
		return strings.Join(names, " "), nil
	case "chmod", "chown", "utimes", "truncate":
		n, err := m.walk(o.A)
		if err != nil {
			return "", err
		}
		switch o.Kind {
		case "chmod":
			n.mode = n.typ() | o.Mode
		case "chown":
			n.uid = uint32(o.N)
			n.kill()
			delete(n.xattrs, capsName)
		case "utimes":
			n.mtime = int64(o.N)
		case "truncate":
			if n.isDir() {
				return "", unix.EISDIR
			}
			if n.typ() != unix.S_IFREG {
				return "", unix.EINVAL
			}
			m.resize(n, o.N)
			n.mtime = m.now
			delete(n.xattrs, capsName)
		}
		n.ctime = m.now
	case "setxattr", "getxattr", "removexattr":
		n, err := m.walk(o.A)
		if err != nil {
			return "", err
		}
		name := xattrName(o)
		v, ok := n.xattrs[name]
		switch {
		case o.Kind == "setxattr" && o.Off%3 == 0 && ok:
			return "", unix.EEXIST
		case o.Kind == "setxattr":
			n.xattrs[name] = string(value(o))
			n.ctime = m.now
		case !ok:
			return "", unix.ENODATA
		case o.Kind == "getxattr":
			return v, nil
		default:
			delete(n.xattrs, name)
			n.ctime = m.now
		}
	default:
		if h == nil {
			return "", nil
		}
		return m.applyOpen(h, o)
	}
	return "", err
}

func opens(n *node) error {
	switch n.typ() {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return unix.EISDIR
	case unix.S_IFLNK:
		return unix.ELOOP
	}
	return unix.ENXIO
}

func (n *node) kill() {
	if n.isDir() {
		return
	}
	n.mode &^= unix.S_ISUID
	if n.mode&unix.S_IXGRP != 0 {
		n.mode &^= unix.S_ISGID
	}
}

func xattrName(o op) string {
	return []string{"user.x", "user.y", capsName}[o.N%3]
}

func (m *model) applyOpen(h *openNode, o op) (string, error) {
	n := h.n
	switch o.Kind {
	case "close":
		delete(m.open, o.Slot)
	case "write", "append":
		off := o.Off
		if o.Kind == "append" {
			off = len(n.data)
		}
		m.write(h, payload(o), off)
		delete(n.xattrs, capsName)
		n.kill()
	case "read":
		end := min(o.Off+o.N, len(n.data))
		if o.Off >= end {
			return "", nil
		}
		return string(n.data[o.Off:end]), nil
	case "punch", "zero", "falloc":
		if o.Kind != "falloc" {
			m.zero(n, o.Off, o.Off+o.N)
		}
		if o.Kind != "punch" && o.Off+o.N > len(n.data) {
			m.resize(n, o.Off+o.N)
		}
		m.changed(n)
	case "ftruncate":
		m.resize(n, o.N)
		delete(n.xattrs, capsName)
		m.changed(n)
	case "copy":
		to := m.open[o.Slot/3*3+(o.Slot+1)%3]
		if to == nil {
			return "", nil
		}
		off, end := o.Off, min(o.Off+o.N, len(n.data))
		switch {
		case to.flags&unix.O_APPEND != 0:
			return "", unix.EBADF
		case to.n == n && o.Off < int(o.Mode)%70+o.N && int(o.Mode)%70 < o.Off+o.N:
			return "", unix.EINVAL
		case off < end:
			m.write(&openNode{to.n, 0}, n.data[off:end], int(o.Mode)%70)
			delete(to.n.xattrs, capsName)
			to.n.kill()
		}
	}
	return "", nil
}

// rig is a tree under test, with what is below it.
type rig struct {
	*Tree
	t     testing.TB
	log   *fakeLog // nil above a real pipe
	again func()   // ends the session below and begins another
	cfg   Config
	clock atomic.Int64
	open  [16]*Handle // by slot; one goroutine a slot
}

func newRig(t testing.TB, change func(*Config)) *rig {
	r := &rig{t: t, log: newFakeLog()}
	r.again = r.log.restart
	r.cfg = Config{
		Index: openIndex(t), Collector: r.log, Groups: r.log, Flight: r.log,
		Clock:      func() time.Time { return time.Unix(r.clock.Load(), 0) },
		CutEvery:   time.Hour,
		ApplyEvery: time.Microsecond,
		Full:       errFull,
	}
	if change != nil {
		change(&r.cfg)
	}
	r.start()
	return r
}

func (r *rig) start() {
	t, err := New(context.Background(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Tree = t
}

// reopen ends the session with all handles lost, and begins another.
func (r *rig) reopen() {
	r.close()
	clear(r.open[:])
	r.again()
	r.start()
}

func (r *rig) close() {
	if err := r.Close(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	if r.log != nil && r.log.begins != 0 {
		r.t.Fatalf("%d slots were not released", r.log.begins)
	}
	if d := r.dirty.Load(); d != 0 {
		r.t.Fatalf("%d bytes dirty after close", d)
	}
}

func (r *rig) walk(ctx context.Context, path string) (Entry, error) {
	e, err := r.Lookup(ctx, RootIno, ".")
	for _, name := range split(path) {
		if err != nil {
			break
		}
		e, err = r.Lookup(ctx, e.Ino, name)
	}
	return e, err
}

func (r *rig) in(ctx context.Context, path string) (Ino, string, error) {
	dir, name := parentOf(path)
	e, err := r.walk(ctx, dir)
	if err == nil && e.Attr.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	return e.Ino, name, err
}

// set opens h in the slot, and closes what was open there.
func (r *rig) set(slot int, h *Handle) {
	if old := r.open[slot]; old != nil {
		old.Release()
	}
	r.open[slot] = h
}

func (r *rig) apply(ctx context.Context, o op) (string, error) {
	switch o.Kind {
	case "create", "mkdir", "symlink", "mknod", "unlink", "rmdir", "rename", "exchange", "noreplace", "link":
		return "", r.applyName(ctx, o)
	case "lookup", "readdir", "open", "tmpfile", "chmod", "chown", "utimes", "truncate", "setxattr", "getxattr", "removexattr":
		e, err := r.walk(ctx, o.A)
		if err != nil {
			return "", err
		}
		return r.applyIno(ctx, e, o)
	}
	h := r.open[o.Slot]
	if h == nil {
		return "", nil
	}
	return r.applyOpen(ctx, h, o)
}

func (r *rig) applyName(ctx context.Context, o op) error {
	var from Entry
	var err error
	if o.Kind == "link" {
		if from, err = r.walk(ctx, o.A); err != nil {
			return err
		}
		if from.Attr.Mode&unix.S_IFMT == unix.S_IFDIR {
			return unix.EPERM
		}
		o.A = o.B
	}
	dir, name, err := r.in(ctx, o.A)
	if err != nil {
		return err
	}
	switch o.Kind {
	case "create":
		_, h, err := r.Create(ctx, someone, dir, name, o.Mode, o.Flags)
		if err == nil {
			r.set(o.Slot, h)
		}
		return err
	case "mkdir":
		_, err = r.Mkdir(ctx, someone, dir, name, o.Mode)
	case "symlink":
		_, err = r.Symlink(ctx, someone, dir, name, o.B)
	case "mknod":
		_, err = r.Mknod(ctx, someone, dir, name, unix.S_IFIFO|o.Mode, 0)
	case "link":
		_, err = r.Link(ctx, from.Ino, dir, name)
	case "unlink":
		err = r.Unlink(ctx, dir, name)
	case "rmdir":
		err = r.Rmdir(ctx, dir, name)
	default:
		to, nname, err := r.in(ctx, o.B)
		if err != nil {
			return err
		}
		flags := map[string]uint32{"exchange": unix.RENAME_EXCHANGE, "noreplace": unix.RENAME_NOREPLACE}[o.Kind]
		return r.Rename(ctx, dir, name, to, nname, flags)
	}
	return err
}

func (r *rig) applyIno(ctx context.Context, e Entry, o op) (string, error) {
	var set SetAttr
	switch o.Kind {
	case "lookup":
		return r.line(ctx, "", e, true)
	case "readdir":
		var names []string
		err := r.ReadDir(ctx, e.Ino, 0, func(name string, _ Dirent, _ func() (Attr, error)) bool {
			names = append(names, name)
			return true
		})
		sort.Strings(names)
		return strings.Join(names, " "), err
	case "open":
		h, err := r.Open(ctx, e.Ino, o.Flags)
		if err == nil {
			r.set(o.Slot, h)
		}
		return "", err
	case "tmpfile":
		_, h, err := r.Tmpfile(ctx, someone, e.Ino, o.Mode, o.Flags)
		if err == nil {
			r.set(o.Slot, h)
		}
		return "", err
	case "setxattr":
		flags := 0
		if o.Off%3 == 0 {
			flags = unix.XATTR_CREATE
		}
		return "", r.SetXattr(ctx, e.Ino, xattrName(o), value(o), flags)
	case "getxattr":
		v, err := r.GetXattr(ctx, e.Ino, xattrName(o))
		return string(v), err
	case "removexattr":
		return "", r.RemoveXattr(ctx, e.Ino, xattrName(o))
	case "chmod":
		set = SetAttr{Valid: SetMode, Mode: o.Mode}
	case "chown":
		set = SetAttr{Valid: SetUid, Uid: uint32(o.N)}
	case "utimes":
		set = SetAttr{Valid: SetMtime, Mtime: Time{Sec: int64(o.N)}}
	case "truncate":
		set = SetAttr{Valid: SetSize, Size: uint64(o.N)}
	}
	_, err := r.Setattr(ctx, e.Ino, set, nil)
	return "", err
}

func (r *rig) applyOpen(ctx context.Context, h *Handle, o op) (string, error) {
	off, n := int64(o.Off), int64(o.N)
	switch o.Kind {
	case "close":
		r.set(o.Slot, nil)
	case "write", "append":
		if o.Kind == "append" {
			a, err := r.Getattr(ctx, h.Ino())
			if err != nil {
				return "", err
			}
			off = int64(a.Size)
		}
		k, err := h.Write(ctx, payload(o), off, true)
		if err == nil && k != o.N {
			err = fmt.Errorf("wrote %d of %d", k, o.N)
		}
		return "", err
	case "read":
		p := bytes.Repeat([]byte{0xee}, o.N)
		k, err := h.Read(ctx, p, off)
		return string(p[:k]), err
	case "punch":
		return "", h.Fallocate(ctx, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	case "zero":
		return "", h.Fallocate(ctx, unix.FALLOC_FL_ZERO_RANGE, off, n)
	case "falloc":
		return "", h.Fallocate(ctx, 0, off, n)
	case "ftruncate":
		_, err := r.Setattr(ctx, h.Ino(), SetAttr{Valid: SetSize, Size: uint64(n)}, h)
		return "", err
	case "seek":
		return "", r.checkSeek(ctx, h)
	case "copy":
		to := r.open[o.Slot/3*3+(o.Slot+1)%3]
		if to == nil {
			return "", nil
		}
		_, err := h.CopyRange(ctx, off, to, int64(o.Mode)%70, n)
		return "", err
	}
	return "", nil
}

// checkSeek goes through data and holes: holes must read as zeros, and they meet.
func (r *rig) checkSeek(ctx context.Context, h *Handle) error {
	a, err := r.Getattr(ctx, h.Ino())
	if err != nil {
		return err
	}
	data := make([]byte, a.Size)
	if _, err := h.Read(ctx, data, 0); err != nil {
		return err
	}
	for pos := int64(0); pos < int64(a.Size); {
		d, err := h.Seek(ctx, pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			d, err = int64(a.Size), nil
		}
		if err != nil {
			return err
		}
		if d < pos || len(bytes.Trim(data[pos:d], "\x00")) > 0 {
			return fmt.Errorf("hole %d to %d of %x", pos, d, data)
		}
		if d == int64(a.Size) {
			return nil
		}
		if pos, err = h.Seek(ctx, d, unix.SEEK_HOLE); err != nil {
			return err
		}
		if pos <= d {
			return fmt.Errorf("no data at %d", d)
		}
	}
	return nil
}

func (r *rig) line(ctx context.Context, path string, e Entry, times bool) (string, error) {
	a := e.Attr
	n := node{
		mode: a.Mode, nlink: a.Nlink, uid: a.Uid, gid: a.Gid, xattrs: make(map[string]string),
		mtime: a.Mtime.Sec, ctime: a.Ctime.Sec, btime: a.Btime.Sec,
	}
	var err error
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.entries = make(map[string]*node)
		err = r.ReadDir(ctx, e.Ino, 0, func(name string, d Dirent, _ func() (Attr, error)) bool {
			if n.entries[name] != nil {
				err = fmt.Errorf("%q twice in directory %d", name, e.Ino)
			}
			n.entries[name] = &node{}
			return true
		})
		if len(n.entries) != int(a.Size) {
			return "", fmt.Errorf("directory %d has %d entries, and %d are counted", e.Ino, len(n.entries), a.Size)
		}
	case unix.S_IFLNK:
		n.target, err = r.Readlink(ctx, e.Ino)
	case unix.S_IFREG:
		var h *Handle
		if h, err = r.Open(ctx, e.Ino, unix.O_RDONLY); err != nil {
			return "", err
		}
		defer h.Release()
		n.data = make([]byte, a.Size)
		var k int
		k, err = h.Read(ctx, n.data, 0)
		n.data = n.data[:k]
	}
	if err != nil {
		return "", err
	}
	names, err := r.ListXattr(ctx, e.Ino)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		v, err := r.GetXattr(ctx, e.Ino, name)
		if err != nil {
			return "", err
		}
		n.xattrs[name] = string(v)
	}
	return n.line(path, times), nil
}

// dump lists everything below path as the model's dump does.
func (r *rig) dump(path string, times bool) string {
	ctx := context.Background()
	var lines []string
	var walk func(path string, e Entry)
	walk = func(path string, e Entry) {
		line, err := r.line(ctx, path, e, times)
		if err != nil {
			line = path + ": " + err.Error()
		}
		lines = append(lines, line)
		if e.Attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			return
		}
		err = r.ReadDir(ctx, e.Ino, 0, func(name string, d Dirent, attr func() (Attr, error)) bool {
			a, err := attr()
			f, lerr := r.Lookup(ctx, e.Ino, name)
			if err != nil || lerr != nil || f.Ino != d.Ino || f.Attr != a || typeOf(a.Mode) != d.Type {
				lines = append(lines, fmt.Sprintf("%s/%s: readdir %v %v %v, lookup %v %v", path, name, d, a, err, f, lerr))
			}
			walk(path+"/"+name, f)
			return true
		})
		if err != nil {
			lines = append(lines, path+": "+err.Error())
		}
	}
	e, err := r.walk(ctx, path)
	if err != nil {
		return err.Error()
	}
	walk(path, e)
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// diff shows where two dumps differ.
func diff(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range w {
		if !slices.Contains(g, line) {
			b.WriteString("want " + line + "\n")
		}
	}
	for _, line := range g {
		if !slices.Contains(w, line) {
			b.WriteString("got  " + line + "\n")
		}
	}
	if b.Len() == 0 && want != got {
		return "want\n" + want + "\ngot\n" + got // lines in another order, or twice
	}
	return b.String()
}
