package tree

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// crowd is how many goroutines work at once, each below a directory of its own and,
// all together, on one file.
const crowd = 4

// worker does operations below its directory and appends a record to the shared
// file after each.
type worker struct {
	id          int
	dir         string
	ops         []op
	m           *model
	states      []string // after each operation
	begun, done atomic.Int64
	logged      atomic.Int64 // records that were surely appended
	logging     atomic.Int64 // and that perhaps were
	err         error
}

func (w *worker) run(ctx context.Context, r *rig, shared *Handle) {
	for k, o := range w.ops {
		w.begun.Add(1)
		want, wantErr := w.m.apply(o)
		got, gotErr := r.apply(ctx, o)
		// Attributes of "lookup" hold times, which others set.
		if !sameErr(wantErr, gotErr) || o.Kind != "lookup" && want != got {
			w.err = fmt.Errorf("%s op %d %+v:\nwant %q, %v\ngot  %q, %v", w.dir, k, o, want, wantErr, got, gotErr)
			return
		}
		w.states = append(w.states, w.m.dumpAt(w.dir, false))
		w.done.Add(1)
		var rec [8]byte
		binary.BigEndian.PutUint32(rec[:], uint32(w.id))
		binary.BigEndian.PutUint32(rec[4:], uint32(k))
		w.logging.Add(1)
		if _, err := shared.Write(ctx, rec[:], 0, false); err != nil {
			w.err = err
			return
		}
		w.logged.Add(1)
	}
}

type window struct{ least, most int64 }

// freeze is what each worker had done at the instant of a cut.
type freeze [crowd]struct{ states, records window }

func (f *freeze) note(workers []*worker) {
	for k, w := range workers {
		f[k].states.least, f[k].states.most = w.done.Load(), w.begun.Load()
		f[k].records.least, f[k].records.most = w.logged.Load(), w.logging.Load()
	}
}

// TestConcurrentCutsArePrefixes lets several goroutines work while others cut,
// list and evict. Each sees its own part of the tree as if it were alone; each cut
// holds, of each goroutine, a prefix of what it did; and the shared file holds
// whole records of each in its order, up to the cut.
func TestConcurrentCutsArePrefixes(t *testing.T) {
	fewer(t, 30)
	ctx := context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t, func(c *Config) { c.MaxClean = 4 })
		r.log.oddTail = rapid.Bool().Draw(rt, "odd tail")
		_, shared, err := r.Create(ctx, someone, RootIno, "shared", 0o644, unix.O_RDWR|unix.O_APPEND)
		if err != nil {
			rt.Fatal(err)
		}
		var workers []*worker
		for k := range crowd {
			w := &worker{id: k, dir: fmt.Sprint("d", k), m: newModel()}
			w.ops = genOps(w.dir, 3*k, allOps).Draw(rt, w.dir)
			top := op{Kind: "mkdir", A: w.dir, Mode: 0o755}
			w.m.apply(top)
			if _, err := r.apply(ctx, top); err != nil {
				rt.Fatal(err)
			}
			w.states = []string{w.m.dumpAt(w.dir, false)}
			workers = append(workers, w)
		}
		if err := r.Sync(ctx); err != nil {
			rt.Fatal(err)
		}
		skip := len(r.log.cuts)
		var freezes []freeze // appended under the tree's epoch lock
		r.log.onCut = func() {
			var f freeze
			f.note(workers)
			freezes = append(freezes, f)
		}
		r.crowd(ctx, rt, workers, shared)
		shared.Release()
		r.close()

		for n, f := range freezes {
			view := r.view(skip + n + 1)
			records := view.records(ctx, rt, "shared")
			for k, w := range workers {
				at := f[k]
				got := view.dump(w.dir, false)
				if !slices.Contains(w.states[at.states.least:min(at.states.most+1, int64(len(w.states)))], got) {
					rt.Fatalf("cut %d, %s after %d operations:\n%s", n, w.dir, at.states.least, diff(w.states[at.states.least], got))
				}
				if c := int64(len(records[k])); c < at.records.least || c > at.records.most {
					rt.Fatalf("cut %d has %d records of %s, want %d to %d", n, c, w.dir, at.records.least, at.records.most)
				}
			}
			view.close()
		}
	})
}

// crowd runs the workers, and beside them who cuts, lists and evicts.
func (r *rig) crowd(ctx context.Context, rt *rapid.T, workers []*worker, shared *Handle) {
	over := make(chan struct{})
	var beside, busy sync.WaitGroup
	for _, f := range []func(){
		func() {
			if err := r.Sync(ctx); err != nil {
				r.t.Error(err)
			}
		},
		func() { r.dump("", false) },
		func() { r.table.drop() },
	} {
		beside.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					f()
				}
			}
		})
	}
	for _, w := range workers {
		busy.Go(func() { w.run(ctx, r, shared) })
	}
	busy.Wait()
	close(over)
	beside.Wait()
	for _, w := range workers {
		if w.err != nil {
			rt.Fatal(w.err)
		}
		if want, got := w.states[len(w.states)-1], r.dump(w.dir, false); want != got {
			rt.Fatalf("%s at the end:\n%s", w.dir, diff(want, got))
		}
	}
}

// records reads the shared file: the numbers of each worker's records, in order.
func (r *rig) records(ctx context.Context, rt *rapid.T, name string) (seen [crowd][]uint32) {
	e, err := r.walk(ctx, name)
	if err != nil {
		rt.Fatal(err)
	}
	h, err := r.Open(ctx, e.Ino, unix.O_RDONLY)
	if err != nil {
		rt.Fatal(err)
	}
	defer h.Release()
	data := make([]byte, e.Attr.Size)
	if _, err := h.Read(ctx, data, 0); err != nil || len(data)%8 != 0 {
		rt.Fatal(len(data), err)
	}
	for rec := range slices.Chunk(data, 8) {
		id, k := binary.BigEndian.Uint32(rec), binary.BigEndian.Uint32(rec[4:])
		if int(id) >= crowd || int(k) != len(seen[id]) {
			rt.Fatalf("record %d of %d after %d", k, id, len(seen[id%crowd]))
		}
		seen[id] = append(seen[id], k)
	}
	return seen
}

// TestRenameRaces moves directories about so that they would become their own
// descendants if renames did not keep each other still.
func TestRenameRaces(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, nil)
	dirs := []Ino{RootIno}
	for k := range 6 {
		e, err := r.Mkdir(ctx, someone, dirs[k/2], fmt.Sprint("d", k), 0o755)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, e.Ino)
	}
	var busy sync.WaitGroup
	for g := range 4 {
		busy.Go(func() {
			for k := range 400 {
				n := k*7 + g*3
				from, to := dirs[n%7], dirs[(n/7+g)%7]
				var flags uint32
				if n%5 == 0 {
					flags = unix.RENAME_EXCHANGE
				}
				_ = r.Rename(ctx, from, fmt.Sprint("d", n%6), to, fmt.Sprint("d", (n+k)%6), flags)
				if e, err := r.Mkdir(ctx, someone, to, fmt.Sprint("d", n%6), 0o755); err == nil && k%2 == 0 {
					_ = r.Rmdir(ctx, to, fmt.Sprint("d", n%6))
					_ = e
				}
			}
		})
	}
	busy.Wait()
	// Whatever is there hangs together: counts, and the way up from everywhere.
	names := 0
	var walk func(e Entry)
	walk = func(e Entry) {
		names++
		subdirs := 0
		if err := r.ReadDir(ctx, e.Ino, 0, func(name string, d Dirent, attr func() (Attr, error)) bool {
			a, err := attr()
			if err != nil || a.Parent != e.Ino {
				t.Errorf("%q in %d: parent %d, %v", name, e.Ino, a.Parent, err)
			}
			subdirs++
			walk(Entry{d.Ino, a})
			return true
		}); err != nil {
			t.Error(err)
		}
		if e.Attr.Nlink != uint32(2+subdirs) || e.Attr.Size != uint64(subdirs) {
			t.Errorf("directory %d has %d links, %d entries, and %d are there", e.Ino, e.Attr.Nlink, e.Attr.Size, subdirs)
		}
	}
	root, err := r.Lookup(ctx, RootIno, ".")
	if err != nil {
		t.Fatal(err)
	}
	walk(root)
	stat, err := r.Statfs(ctx)
	if err != nil || stat.Inodes != uint64(names) {
		t.Errorf("%d inodes, and %d can be reached, %v", stat.Inodes, names, err)
	}
	r.close()
}
