package pipeline

import (
	"testing"
)

// BenchmarkCycle is one buffer's way through a pipe of two stages without any waiting.
func BenchmarkCycle(b *testing.B) {
	p, err := newPipe(Spec{Name: "bench", Buffers: 4, Size: 1 << 20, Headroom: 64 << 10, Stages: []StageSpec{
		{Name: "head", Allocates: true, New: of(sends(0))},
		{Name: "tail", New: of(receives(frees))},
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer p.seg.Close()
	head, tail := &Port{pipe: p, stage: p.stages[0]}, &Port{pipe: p, stage: p.stages[1]}
	b.ReportAllocs()
	for b.Loop() {
		buf, err := head.AllocBuf(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		head.SendBuf(buf)
		if buf, err = tail.ReceiveBuf(b.Context()); err != nil {
			b.Fatal(err)
		}
		tail.FreeBuf(buf)
	}
}

// BenchmarkPipe is a buffer's way through a running pipe with an ordered stage of four instances.
func BenchmarkPipe(b *testing.B) {
	p, err := Start(b.Context(), Spec{Name: "bench", Buffers: 64, Size: 4096, Stages: []StageSpec{
		{Name: "head", Allocates: true, New: of(sends(b.N))},
		{Name: "middle", Instances: 4, Ordered: true, New: of(receives(passes))},
		{Name: "tail", New: of(receives(frees))},
	}})
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}
