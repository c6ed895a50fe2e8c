package dedup

import (
	"testing"
	"time"

	"coffer/chunkfmt"
)

// BenchmarkAddMillion adds a million blocks and says what an entry takes, and how
// long the slowest thousand blocks were.
func BenchmarkAddMillion(b *testing.B) {
	const groups, per = 1000, 1000
	all := make([]chunkfmt.GroupRecord, groups)
	for i := range all {
		all[i] = group(chunkfmt.MakeSeq(1, uint64(i)+1), uint64(i)*per, per)
	}
	var t *Table
	var worst time.Duration
	for b.Loop() {
		t = New(1<<30, nil)
		for _, g := range all {
			from := time.Now()
			t.Add(g)
			worst = max(worst, time.Since(from))
		}
	}
	st := t.Stats()
	b.ReportMetric(float64(st.Bytes)/float64(st.Entries), "B/entry")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/groups/per, "ns/entry")
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms/1000")
}

// BenchmarkMiss is what a new block costs.
func BenchmarkMiss(b *testing.B) {
	t, _ := fill(1<<30, 100_000, 1)
	prints := make([]chunkfmt.Fingerprint, 1024)
	for i := range prints {
		prints[i] = print(1<<40 + uint64(i))
	}
	i := 0
	for b.Loop() {
		if _, ok, _ := t.Lookup(prints[i%1024], 100); ok {
			b.Fatal("hit")
		}
		i++
	}
}
