package fsx

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// Tester does the operations of one run.
type Tester struct {
	tb    testing.TB
	host  rig.Host
	rng   *rand.Rand
	files [2]*file
	limit int    // of a file's length, above its base
	lacks []kind // what the file system does not have
	exact bool   // it tells holes to the block
	ops   []op
}

// Config says what to run.
type Config struct {
	Host rig.Host
	Seed uint64
	// Base is where the files begin to have bytes: the offset of their first one.
	Base int64
	// Lacks names operations that the file system does not have.
	Lacks []string
	// Lazy: the file system may tell data where only a reader was (tmpfs).
	Lazy bool
}

// New prepares a run.
func New(tb testing.TB, c Config) *Tester {
	t := &Tester{
		tb: tb, host: c.Host, rng: rand.New(rand.NewPCG(c.Seed, 1)), limit: 2 << 20, exact: !c.Lazy,
	}
	for _, l := range c.Lacks {
		t.lacks = append(t.lacks, kind(l))
	}
	for k := range t.files {
		t.files[k] = &file{
			path: filepath.Join(c.Host.Dir(), fmt.Sprintf("file%d", k)),
			base: c.Base, open: map[access]int{},
		}
	}
	tb.Cleanup(func() { t.closeAll() })
	return t
}

// Run does n operations; the first that fails ends it, with all that is needed to find out why.
func (t *Tester) Run(n int) error {
	for k, f := range t.files {
		// With a base, the file reaches to it from now on.
		if _, err := f.handle(readWrite); err != nil {
			return err
		}
		if err := f.truncate(readWrite, 0); err != nil {
			return fmt.Errorf("make file %d: %w", k, err)
		}
	}
	for range n {
		o := t.draw()
		t.ops = append(t.ops, o)
		if err := t.do(o); err != nil {
			return t.explain(o, err)
		}
	}
	return t.checkAll()
}

// do does one operation to the file and to the model, and compares.
func (t *Tester) do(o op) error {
	f := t.files[o.File]
	switch o.Kind {
	case opRead:
		got, err := f.read(o.By, o.Off, o.N)
		return errors.Join(err, unlessFailed(err, func() error { return f.differ(o.Off, o.N, got) }))
	case opMapRead:
		got := make([]byte, o.N)
		if err := f.mapped(o.Off, o.N, func(m []byte) { copy(got, m) }); err != nil {
			return err
		}
		return f.differ(o.Off, o.N, got)
	case opWrite:
		p := aligned(o.N)
		fill(o.Seed, p)
		if err := f.write(o.By, o.Off, p); err != nil {
			return err
		}
		f.model.write(o.Off, p)
	case opMapWrite:
		p := make([]byte, o.N)
		fill(o.Seed, p)
		if err := f.mapped(o.Off, o.N, func(m []byte) { copy(m, p) }); err != nil {
			return err
		}
		f.model.write(o.Off, p)
	case opMap:
		return f.keep(t.limit)
	case opUnmap:
		return f.unmap(o.Seed%2 == 0)
	case opTruncate:
		if err := f.truncate(o.By, o.Off); err != nil {
			return err
		}
		f.resize(o.Off)
	case opAlloc, opKeep, opPunch, opZero, opZeroKeep, opCollapse, opInsert:
		if err := f.fallocate(o.By, fallocModes[o.Kind], o.Off, o.N); err != nil {
			return err
		}
		f.allocated(o)
	case opCopy:
		return t.copyRange(o)
	case opSeek:
		return t.seek(f, o.By, o.Off)
	case opSync:
		return f.sync(o.By)
	case opClose:
		return f.close(o.By)
	case opCloseAll:
		return f.closeAll()
	case opForget:
		fd, err := f.handle(o.By)
		return errors.Join(err, unlessFailed(err, func() error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) }))
	case opDrop:
		return os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0)
	case opCheck:
		return t.check(f, o.By)
	case opRemount:
		return t.again(t.host.Remount)
	case opCrash:
		for _, f := range t.files {
			if err := f.sync(readWrite); err != nil {
				return err
			}
		}
		if err := syncDir(t.host.Dir()); err != nil {
			return err
		}
		return t.again(t.host.Crash)
	}
	return t.checkSize(f)
}

func unlessFailed(err error, then func() error) error {
	if err != nil {
		return nil
	}
	return then()
}

var fallocModes = map[kind]uint32{
	opAlloc:    0,
	opKeep:     unix.FALLOC_FL_KEEP_SIZE,
	opPunch:    unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
	opZero:     unix.FALLOC_FL_ZERO_RANGE,
	opZeroKeep: unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE,
	opCollapse: unix.FALLOC_FL_COLLAPSE_RANGE,
	opInsert:   unix.FALLOC_FL_INSERT_RANGE,
}

// allocated is what a fallocate does to the model.
func (m *model) allocated(o op) {
	end := o.Off + o.N
	switch o.Kind {
	case opPunch:
		m.punch(o.Off, end)
	case opCollapse:
		m.collapse(o.Off, end)
	case opInsert:
		m.insert(o.Off, o.N)
	default:
		if (o.Kind == opAlloc || o.Kind == opZero) && end > m.size() {
			m.resize(end)
		}
		if o.Kind == opZero || o.Kind == opZeroKeep {
			m.zero(o.Off, end)
		}
		m.touch(o.Off, end)
	}
}

func (t *Tester) copyRange(o op) error {
	src, dst := t.files[o.File], t.files[o.To]
	from, err := src.handle(o.By)
	if err != nil {
		return err
	}
	to, err := dst.handle(o.ToBy)
	if err != nil {
		return err
	}
	off, toOff := src.base+int64(o.Off), dst.base+int64(o.ToOff)
	n, err := unix.CopyFileRange(from, &off, to, &toOff, o.N, 0)
	if o.File == o.To && o.Off < o.ToOff+o.N && o.ToOff < o.Off+o.N && o.Off < src.size() {
		// The kernel shortens the range to the file's end before it looks whether source and target meet.
		if k := min(o.N, src.size()-o.Off); o.Off < o.ToOff+k && o.ToOff < o.Off+k {
			if err != unix.EINVAL {
				return fmt.Errorf("copy onto itself: %d bytes, %v, want %v", n, err, unix.EINVAL)
			}
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("copy_file_range: %w", err)
	}
	p := src.part(o.Off, o.N)
	if n > len(p) || n == 0 && len(p) > 0 {
		return fmt.Errorf("copy_file_range: %d bytes of %d", n, len(p))
	}
	dst.model.write(o.ToOff, append([]byte(nil), p[:n]...))
	return t.checkSize(dst)
}

func (t *Tester) seek(f *file, by access, off int) error {
	if off >= f.size() {
		return nil
	}
	data, err := f.seek(by, off, unix.SEEK_DATA)
	if err != nil {
		return fmt.Errorf("SEEK_DATA: %w", err)
	}
	hole, err := f.seek(by, off, unix.SEEK_HOLE)
	if err != nil {
		return fmt.Errorf("SEEK_HOLE: %w", err)
	}
	return errors.Join(f.checkData(off, data, t.exact), f.checkHole(off, hole, t.exact))
}

func (f *file) sync(by access) error {
	fd, err := f.handle(by)
	if err != nil {
		return err
	}
	return unix.Fsync(fd)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// again mounts the file system again by way of mount; nothing may have changed by it.
func (t *Tester) again(mount func(testing.TB)) error {
	if err := t.closeAll(); err != nil {
		return err
	}
	var before [2]unix.Stat_t
	for k, f := range t.files {
		var err error
		if before[k], err = f.stat(); err != nil {
			return err
		}
	}
	mount(t.tb)
	for k, f := range t.files {
		after, err := f.stat()
		if err != nil {
			return err
		}
		if after != before[k] {
			return fmt.Errorf("file %d is %+v, and was %+v before", k, after, before[k])
		}
	}
	return t.checkAll()
}

func (t *Tester) closeAll() (err error) {
	for _, f := range t.files {
		err = errors.Join(err, f.closeAll())
	}
	return err
}

func (t *Tester) checkAll() error {
	for k, f := range t.files {
		if err := t.check(f, readOnly); err != nil {
			return fmt.Errorf("file %d: %w", k, err)
		}
	}
	return nil
}

// check compares all of a file: what it holds, how long it is, and where its holes are.
func (t *Tester) check(f *file, by access) error {
	if err := t.checkSize(f); err != nil {
		return err
	}
	got, err := f.read(by, 0, t.limit)
	if err != nil {
		return err
	}
	if err := f.differ(0, t.limit, got); err != nil {
		return err
	}
	for off := 0; off < f.size(); {
		if err := t.seek(f, by, off); err != nil {
			return err
		}
		// On to where the kind changes.
		data, err := f.seek(by, off, unix.SEEK_DATA)
		if err != nil || data < 0 {
			return err
		}
		if off, err = f.seek(by, data, unix.SEEK_HOLE); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tester) checkSize(f *file) error {
	st, err := f.stat()
	if err != nil {
		return err
	}
	if st.Size != f.base+int64(f.size()) {
		return fmt.Errorf("the file has %d bytes, want %d", st.Size-f.base, f.size())
	}
	return nil
}

// explain adds the last operations to an error, and of a wrong byte who wrote it.
func (t *Tester) explain(o op, err error) error {
	var s strings.Builder
	fmt.Fprintf(&s, "operation %d, %s: %v\nlast operations:\n", len(t.ops), o, err)
	for k := max(0, len(t.ops)-40); k < len(t.ops); k++ {
		fmt.Fprintf(&s, "%6d %s\n", k+1, t.ops[k])
	}
	var d *difference
	if errors.As(err, &d) {
		fmt.Fprintf(&s, "that touched byte %d of either file:\n", d.at)
		shown := 0
		for k := len(t.ops) - 1; k >= 0 && shown < 40; k-- {
			if o := t.ops[k]; o.changes(d.at) {
				fmt.Fprintf(&s, "%6d %s\n", k+1, o)
				shown++
			}
		}
	}
	return errors.New(s.String())
}

func (o op) changes(at int) bool {
	switch o.Kind {
	case opWrite, opMapWrite, opPunch, opZero, opZeroKeep:
		return o.Off <= at && at < o.Off+o.N
	case opCollapse, opInsert, opTruncate:
		return o.Off <= at
	case opCopy:
		return o.ToOff <= at && at < o.ToOff+o.N
	}
	return false
}
