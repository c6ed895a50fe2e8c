package crowd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	recordSize = 120  // of the log
	slotSize   = 1500 // of the grid: slots of several workers share a page
	slots      = 40   // each worker's
)

// tally is what a worker did in the shared files.
type tally struct {
	Appended int            // records in the log
	Added    int            // to the counter
	Slots    [slots]uint64  // what was last written to each slot; 0: nothing
	Names    map[string]int // that it has in the shared directory, and how long those files are
}

// shared is what a worker has of the files that all of them use.
type shared struct {
	tally
	log2   int // the log
	grid   int
	mapped []byte // the grid
	ready  bool
	names  int
}

func (w *worker) at(name string) string { return filepath.Join(w.Dir, "shared", name) }

// join opens the shared files, which are there.
func (w *worker) join() error {
	if w.ready {
		return nil
	}
	if w.Names == nil {
		w.Names = map[string]int{}
	}
	var errs [3]error
	w.log2, errs[0] = unix.Open(w.at("log"), unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0)
	w.grid, errs[1] = unix.Open(w.at("grid"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	w.mapped, errs[2] = unix.Mmap(w.grid, 0, w.Crowd*slots*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	w.ready = errs[2] == nil
	return errs[2]
}

func (s *shared) close() error {
	if !s.ready {
		return nil
	}
	s.ready = false
	return errors.Join(unix.Munmap(s.mapped), unix.Close(s.grid), unix.Close(s.log2))
}

// sharedStep does an operation in the shared files.
func (w *worker) sharedStep() error {
	if err := w.join(); err != nil {
		return err
	}
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		w.note("append to the log")
		return w.appendRecord()
	case 3, 4, 5:
		return w.writeSlot()
	case 6:
		slot := w.rng.IntN(slots)
		w.note("read slot %d", slot)
		p := make([]byte, slotSize)
		if _, err := unix.Pread(w.grid, p, int64(slotAt(w.Crowd, w.ID, slot))); err != nil {
			return err
		}
		return equal(slotContent(w.Slots[slot]), p)
	case 7:
		w.note("count")
		return w.count()
	case 8:
		w.note("replace the prize")
		return w.replacePrize()
	case 9:
		w.note("look at the prize")
		return checkPrize(w.at("prize"))
	case 10:
		return w.shareName()
	default:
		w.note("leave and join")
		return w.close2()
	}
}

func (w *worker) close2() error { return w.shared.close() }

// record is the n-th that a worker appends.
func record(id, n int) []byte {
	p := bytes.Repeat([]byte{byte('a' + id)}, recordSize)
	copy(p, fmt.Sprintf("%d %d ", id, n))
	p[recordSize-1] = '\n'
	return p
}

func (w *worker) appendRecord() error {
	n, err := unix.Write(w.log2, record(w.ID, w.Appended))
	w.Appended++
	return wrote(n, recordSize, err)
}

func slotAt(crowd, id, slot int) int { return (slot*crowd + id) * slotSize }

func slotContent(seed uint64) []byte {
	p := make([]byte, slotSize)
	if seed != 0 {
		fill(p, seed)
	}
	return p
}

// writeSlot writes to a slot by one of the ways, or a part of it.
func (w *worker) writeSlot() error {
	slot, seed := w.rng.IntN(slots), w.rng.Uint64()|1
	w.Slots[slot] = seed
	at := slotAt(w.Crowd, w.ID, slot)
	if w.rng.IntN(2) == 0 {
		w.note("map to slot %d", slot)
		copy(w.mapped[at:], slotContent(seed))
		if w.rng.IntN(10) == 0 {
			return unix.Msync(w.mapped, unix.MS_SYNC)
		}
		return nil
	}
	w.note("write to slot %d", slot)
	n, err := unix.Pwrite(w.grid, slotContent(seed), int64(at))
	return wrote(n, slotSize, err)
}

// count adds one to the number in a file, under a lock of one of the kinds.
func (w *worker) count() (err error) {
	fd, err := unix.Open(w.at("counter"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return err
	}
	var p [8]byte
	if _, err := unix.Pread(fd, p[:], 0); err != nil {
		return err
	}
	binary.BigEndian.PutUint64(p[:], binary.BigEndian.Uint64(p[:])+1)
	w.Added++
	n, err := unix.Pwrite(fd, p[:], 0)
	return wrote(n, len(p), err)
}

// replacePrize puts a file of one's own in the place of the prize, of which there is always one.
func (w *worker) replacePrize() error {
	mine := w.at("tmp" + strconv.Itoa(w.ID))
	p := make([]byte, 16+w.rng.IntN(20000))
	binary.BigEndian.PutUint64(p, uint64(len(p)))
	binary.BigEndian.PutUint64(p[8:], w.rng.Uint64())
	fill(p[16:], binary.BigEndian.Uint64(p[8:]))
	if err := os.WriteFile(mine, p, 0o644); err != nil {
		return err
	}
	return unix.Rename(mine, w.at("prize"))
}

// checkPrize wants one whole file of somebody's.
func checkPrize(path string) error {
	p, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(p) < 16 || binary.BigEndian.Uint64(p) != uint64(len(p)) {
		return fmt.Errorf("the prize has %d bytes and not what it says", len(p))
	}
	want := make([]byte, len(p)-16)
	fill(want, binary.BigEndian.Uint64(p[8:]))
	if err := equal(want, p[16:]); err != nil {
		return fmt.Errorf("the prize: %w", err)
	}
	return nil
}

// shareName brings a name into the shared directory by one of the ways, or takes one of one's own away.
func (w *worker) shareName() error {
	if len(w.Names) > 20 {
		for name := range w.Names {
			// Any will do, but the same in each run: the least.
			for other := range w.Names {
				name = min(name, other)
			}
			w.note("remove the shared name %s", name)
			delete(w.Names, name)
			return unix.Unlink(w.at(name))
		}
	}
	w.names++
	name := fmt.Sprintf("of%d-%06d", w.ID, w.names)
	content := bytes.Repeat([]byte("x"), w.rng.IntN(3000))
	w.Names[name] = len(content)
	own := filepath.Join(w.top, "..", fmt.Sprintf("own%d", w.ID))
	switch w.rng.IntN(3) {
	case 0:
		w.note("create the shared name %s", name)
		return os.WriteFile(w.at(name), content, 0o644)
	case 1:
		w.note("rename to the shared name %s", name)
		return errors.Join(os.WriteFile(own, content, 0o644), unix.Rename(own, w.at(name)))
	default:
		w.note("link to the shared name %s", name)
		return errors.Join(os.WriteFile(own, content, 0o644), unix.Link(own, w.at(name)), unix.Unlink(own))
	}
}
