package index

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

const benchFiles = 15000

func locateAll(seq chunkfmt.Seq) (chunkfmt.Location, bool) {
	return chunkfmt.Location{Chunk: 1, Offset: uint64(seq), Length: 1}, true
}

// cpuTime is what this process has used, in seconds.
func cpuTime() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkApply applies trees of 15,000 new files, one commit each.
func BenchmarkApply(b *testing.B) {
	x := openTemp(b)
	first := chunkfmt.Ino(2)
	var cpu float64
	for b.Loop() {
		b.StopTimer()
		records := tree(first, benchFiles)
		first += benchFiles * 2
		b.StartTimer()
		from := cpuTime()
		if err := x.Apply([]Batch{{Records: records}}, Head{Ordinal: 1, Seq: 1}, locateAll); err != nil {
			b.Fatal(err)
		}
		cpu += cpuTime() - from
	}
	b.ReportMetric(cpu/float64(b.N)*1000, "cpu-ms/op")
	b.ReportMetric(benchFiles*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

func benchIndex(b *testing.B) *Index {
	x := openTemp(b)
	for i := range 10 {
		apply(b, x, tree(chunkfmt.Ino(2+i*benchFiles*2), benchFiles)...)
	}
	return x
}

// BenchmarkLookup is one name and one inode, as for a LOOKUP, of 150,000 files.
func BenchmarkLookup(b *testing.B) {
	x := benchIndex(b)
	i := 0
	for b.Loop() {
		i++
		parent := chunkfmt.Ino(2 + i%10*benchFiles*2 + i%700*21)
		d, ok, err := x.Dirent(parent, fmt.Sprintf("some-file-name-%d.go", i%700*20+7))
		if err != nil || !ok {
			b.Fatal(parent, ok, err)
		}
		if _, ok, err := x.Inode(d.Ino); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkOpen opens an index of 150,000 files, which checks every byte.
func BenchmarkOpen(b *testing.B) {
	x := benchIndex(b)
	path := x.db.Path()
	for b.Loop() {
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
		var err error
		if x, err = Open(path, testID); err != nil {
			b.Fatal(err)
		}
	}
	if err := x.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkImage reads an index of 150,000 files in pieces.
func BenchmarkImage(b *testing.B) {
	x := benchIndex(b)
	for b.Loop() {
		imageOf(b, x, 900<<10)
	}
	b.ReportMetric(10*benchFiles*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// BenchmarkLoad makes an index of 150,000 files of its pieces.
func BenchmarkLoad(b *testing.B) {
	pieces := imageOf(b, benchIndex(b), 900<<10)
	path := filepath.Join(b.TempDir(), "index")
	for b.Loop() {
		x, err := Load(path, testID, each(pieces))
		if err == nil {
			err = x.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(10*benchFiles*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}
