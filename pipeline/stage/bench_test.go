package stage_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/index/dedup"
	"coffer/media"
	"coffer/media/mem"
	"coffer/pipeline"
	"coffer/pipeline/stage"
)

// nothing is a medium that takes everything and keeps nothing, so that what is
// measured is the pipe.
type nothing struct{ media.Medium }

func (nothing) Create(context.Context, string) (media.Appender, error) { return &void{}, nil }

type void struct{ size atomic.Int64 }

func (v *void) Append(_ context.Context, parts ...[]byte) (int64, error) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	return v.size.Add(int64(n)) - int64(n), nil
}

func (v *void) Sync(context.Context) error { return nil }
func (v *void) Size() int64                { return v.size.Load() }
func (v *void) Close() error               { return nil }

// text gives n bytes of words, about as compressible as prose.
func text(seed uint64, n int) []byte {
	choice := random(seed, n/4)
	p := make([]byte, 0, n+64)
	for i := 0; len(p) < n; i++ {
		p = fmt.Appendf(p, "word%d ", int(choice[i%len(choice)])*int(choice[(i*7+1)%len(choice)]))
	}
	return p[:n]
}

// cpu is the processor time that the process has used, in seconds.
func cpu(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// benchRig is a rig on a medium that takes everything, in a pipe that does not
// overwrite what it frees, which would be most of what is measured.
func benchRig(b *testing.B) *rig {
	b.Helper()
	ctx := b.Context()
	r := &rig{t: b, ctx: ctx, index: &memIndex{groups: make(map[chunkfmt.Seq]chunkfmt.GroupRecord)}, flight: stage.NewFlight()}
	m := nothing{mem.New(0)}
	catalog, err := media.OpenCatalog(ctx, "", m, testKeys.ID, media.CatalogOptions{})
	if err != nil {
		b.Fatal(err)
	}
	r.groups, err = stage.NewGroups(ctx, stage.GroupsConfig{
		Keys: &testKeys, Flight: r.flight, Records: r.index, Locator: catalog, Medium: m, Sealer: sealerOf,
	})
	if err != nil {
		b.Fatal(err)
	}
	sealer, err := sealerOf(1)
	if err != nil {
		b.Fatal(err)
	}
	r.writer, err = stage.NewWriter(stage.Config{
		Store: testStore, Keys: &testKeys, Sealer: sealer, Session: sessionID(1), Ordinal: 1, Archive: 1,
		Info:   (&chunkfmt.SessionInfo{Volume: "bench"}).Append(nil),
		Medium: m, Catalog: catalog, Dedup: dedup.New(64<<20, r.groups), Flight: r.flight, Groups: r.groups,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	if r.pipe, err = pipeline.Start(ctx, r.writer.Spec("bench")); err != nil {
		b.Fatal(err)
	}
	r.c = r.writer.Collector()
	return r
}

// BenchmarkPipe sends 1 MiB writes of one file through the whole pipe. Every
// write has other bytes: eight bytes in each 4 KiB are new.
func BenchmarkPipe(b *testing.B) {
	for _, kind := range []struct {
		name string
		data []byte
	}{{"incompressible", random(1, 32<<20)}, {"text", text(1, 32<<20)}} {
		b.Run(kind.name, func(b *testing.B) {
			r := benchRig(b)
			var s stage.Stream
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			before := cpu(b)
			b.ResetTimer()
			for i := range b.N {
				p := kind.data[i%32<<20:][:1<<20]
				for at := 0; at < len(p); at += 4096 {
					binary.BigEndian.PutUint64(p[at:], uint64(i)*0x9e3779b97f4a7c15)
				}
				if _, err := r.write(&s, int64(i)<<20, p); err != nil {
					b.Fatal(err)
				}
			}
			r.c.Finish(&s)
			if err := r.await(r.mark(stage.Marker{Kind: stage.MarkEnd}, func(cut func() []stage.Tail) { cut() })); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			gb := float64(b.N) * (1 << 20) / 1e9
			b.ReportMetric((cpu(b)-before)/gb, "cpu-s/GB")
			r.close()
		})
	}
}
