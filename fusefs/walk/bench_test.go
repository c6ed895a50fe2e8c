package walk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	disk "coffer/media/dir"
)

// benchFiles makes a tree as of source code: 15,000 files of 1 to 40 KiB, 150 directories, words as content.
func benchFiles(b *testing.B) string {
	b.Helper()
	if path := os.Getenv("COFFER_BENCH_SOURCE"); path != "" {
		return path
	}
	root := b.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	var words [2000]string
	for i := range words {
		words[i] = fmt.Sprintf("%x ", r.Uint32N(1<<(4+uint(i)%20)))
	}
	for d := range 150 {
		path := filepath.Join(root, fmt.Sprintf("d%d/sub%d", d%15, d))
		if err := os.MkdirAll(path, 0o755); err != nil {
			b.Fatal(err)
		}
		for f := range 100 {
			var text []byte
			for n := 1<<10 + r.IntN(19<<10); len(text) < n; {
				text = append(text, words[r.IntN(len(words))]...)
			}
			if err := os.WriteFile(filepath.Join(path, fmt.Sprintf("file%d", f)), text, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	return root
}

// BenchmarkPut is a first run and a second one into a volume on disk, made stable.
func BenchmarkPut(b *testing.B) {
	src := benchFiles(b)
	for b.Loop() {
		b.StopTimer()
		m, err := disk.Open(b.TempDir(), disk.Options{})
		if err != nil {
			b.Fatal(err)
		}
		tr := newTreeOn(b, m)
		ctx := context.WithoutCancel(b.Context())
		for _, run := range []string{"first", "second"} {
			b.StartTimer()
			start := b.Elapsed()
			res, err := Put(ctx, tr, Options{Sources: []string{src}}, nil)
			if err == nil {
				err = tr.Sync(ctx)
			}
			if err != nil || res.Counts.Problems > 0 {
				b.Fatal(err, res.Problems)
			}
			b.StopTimer()
			b.ReportMetric((b.Elapsed() - start).Seconds(), run+"-s")
			b.ReportMetric(float64(res.Stored), run+"-read")
		}
		b.StartTimer()
	}
}
