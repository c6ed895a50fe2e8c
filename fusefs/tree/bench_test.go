package tree

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkSmallFile is what a small file costs the tree: create, write, release.
func BenchmarkSmallFile(b *testing.B) {
	ctx := context.Background()
	r := newRig(b, func(c *Config) { c.MaxDirty = 1 << 40 })
	p := make([]byte, 4096)
	p[0] = 1
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		_, h, err := r.Create(ctx, someone, RootIno, fmt.Sprint("file", n), 0o644, unix.O_RDWR)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := h.Write(ctx, p[:16], 0, false); err != nil {
			b.Fatal(err)
		}
		h.Release()
	}
}

// BenchmarkSmallFileOnPipe is the same above the real collector, which cuts and
// applies beside.
func BenchmarkSmallFileOnPipe(b *testing.B) {
	ctx := context.Background()
	r := newRealRig(b, 1<<40)
	p := make([]byte, 4096)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		_, h, err := r.Create(ctx, someone, RootIno, fmt.Sprint("file", n), 0o644, unix.O_RDWR)
		if err != nil {
			b.Fatal(err)
		}
		p[n%4096]++
		if _, err := h.Write(ctx, p, 0, false); err != nil {
			b.Fatal(err)
		}
		h.Release()
	}
}

// BenchmarkLookup looks names up in a large directory that the index has.
func BenchmarkLookup(b *testing.B) {
	ctx := context.Background()
	const many = 100_000
	r := newRig(b, func(c *Config) { c.ApplyEvery = time.Hour; c.MaxDirty = 1 << 40 })
	for k := range many {
		if _, err := r.Mknod(ctx, someone, RootIno, fmt.Sprint("file", k), 0o644, 0); err != nil {
			b.Fatal(err)
		}
	}
	for _, where := range []string{"memory", "index"} {
		b.Run(where, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n += 7919
				if _, err := r.Lookup(ctx, RootIno, fmt.Sprint("file", n%many)); err != nil {
					b.Fatal(err)
				}
			}
		})
		r.reopen()
	}
}
