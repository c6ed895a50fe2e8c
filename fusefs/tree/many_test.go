package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTenThousandOpenFiles writes to 10,000 open files round robin through a pool
// of 16 buffers, while others read any of them and cuts are taken.
func TestTenThousandOpenFiles(t *testing.T) {
	const many, rounds, writers = 10_000, 3, 4
	ctx := watched(t, 4*time.Minute)
	v := newVolume(t, 1<<30, func(v *volume) { v.cfg.MaxClean = 500 })
	handles := make([]*Handle, many)
	// A file is records of its number and round, of a length of its own.
	record := func(k, round int) []byte {
		p := make([]byte, 200+k%1000)
		for at := 0; at+8 <= len(p); at += 8 {
			binary.BigEndian.PutUint32(p[at:], uint32(k))
			binary.BigEndian.PutUint32(p[at+4:], uint32(round))
		}
		return p
	}
	for k := range many {
		_, h, err := v.Create(ctx, someone, RootIno, fmt.Sprint("file", k), 0o644, unix.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		handles[k] = h
	}
	check := func(k int, whole bool) error {
		n := len(record(k, 0))
		got := make([]byte, rounds*n)
		read, err := handles[k].Read(ctx, got, 0)
		if err != nil || read%n != 0 || whole && read != len(got) {
			return fmt.Errorf("file %d: read %d of records of %d: %w", k, read, n, err)
		}
		for round := range read / n {
			if !bytes.Equal(got[round*n:(round+1)*n], record(k, round)) {
				return fmt.Errorf("file %d: wrong bytes in record %d", k, round)
			}
		}
		return nil
	}
	over := make(chan struct{})
	var busy, beside sync.WaitGroup
	for g := range writers {
		busy.Go(func() {
			for round := range rounds {
				for k := g; k < many; k += writers {
					p := record(k, round)
					if _, err := handles[k].Write(ctx, p, int64(round*len(p)), false); err != nil {
						t.Errorf("file %d: %v", k, err)
						return
					}
				}
			}
		})
	}
	beside.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-over:
				return
			default:
			}
			if err := check(rng.IntN(many), false); err != nil {
				t.Error(err)
				return
			}
		}
	})
	beside.Go(func() { v.syncUntil(ctx, over) })
	busy.Wait()
	close(over)
	beside.Wait()
	for k := range many {
		if err := check(k, true); err != nil {
			t.Fatal(err)
		}
		handles[k].Release()
	}
	v.end()
	v.revive()
	for k := range many {
		e, err := v.walk(ctx, fmt.Sprint("file", k))
		if err == nil {
			handles[k], err = v.Open(ctx, e.Ino, unix.O_RDONLY)
		}
		if err == nil {
			err = check(k, true)
		}
		if err != nil {
			t.Fatal(err)
		}
		handles[k].Release()
	}
	v.end()
}

// heap is the live heap in bytes.
func heap() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestDirtyIsCounted compares what the tree counts as dirty with the heap that it
// takes: the count must not promise less.
func TestDirtyIsCounted(t *testing.T) {
	ctx := t.Context()
	for _, many := range []int{20_000, 60_000} {
		t.Run(fmt.Sprint(many), func(t *testing.T) {
			r := newRig(t, func(c *Config) { c.MaxDirty = 1 << 40 })
			r.log.hold = true
			before := heap()
			for k := range many {
				_, h, err := r.Create(ctx, someone, RootIno, fmt.Sprint("a file of many ", k), 0o644, unix.O_RDWR)
				if err != nil {
					t.Fatal(err)
				}
				h.Release()
			}
			counted, took := r.dirty.Load(), heap()-before
			t.Logf("%d files: %d bytes counted, %d taken, %d a file", many, counted, took, took/int64(many))
			if took > counted {
				t.Errorf("%d files take %d bytes of heap, and %d are counted", many, took, counted)
			}
			r.log.mu.Lock()
			r.log.hold = false
			r.log.wake.Broadcast()
			r.log.mu.Unlock()
			r.close()
		})
	}
}
