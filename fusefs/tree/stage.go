package tree

import (
	"context"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// FromStage makes the tree's Collector of the pipe's.
func FromStage(c *stage.Collector) Collector { return collector{c} }

type collector struct{ c *stage.Collector }

func (c collector) NewStream(owner any) Stream { return &stage.Stream{Owner: owner} }

func (c collector) Begin(ctx context.Context, s Stream, off int64, n int) (Slot, error) {
	slot, err := c.c.Begin(ctx, s.(*stage.Stream), off, n)
	if err != nil {
		return nil, err
	}
	return stageSlot{slot}, nil
}

func (c collector) Finish(s Stream) { c.c.Finish(s.(*stage.Stream)) }

func (c collector) Prepare(ctx context.Context) (CutSlot, error) {
	slot, err := c.c.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	return stageCut{slot}, nil
}

type stageSlot struct{ s *stage.Slot }

func (s stageSlot) Write(p []byte, off int64, out []Piece) []Piece {
	s.s.Move(off)
	for _, x := range s.s.Write(p) {
		out = append(out, Piece{Off: x.Off, Len: x.Len, Run: stageRun{x.Run}, RunOff: x.RunOff})
	}
	return out
}

func (s stageSlot) Release() { s.s.Release() }

type stageCut struct{ s *stage.CutSlot }

func (s stageCut) Cut(m stage.Marker) []Tail {
	tails := s.s.Cut(m)
	out := make([]Tail, len(tails))
	for k, x := range tails {
		out[k] = Tail{Owner: x.Stream.Owner, Off: x.FileOff, Len: x.Len, Run: stageRun{x.Run}}
	}
	return out
}

func (s stageCut) Release() { s.s.Release() }

type stageRun struct{ r *stage.Run }

func (r stageRun) ReadAt(ctx context.Context, p []byte, off int64) error {
	return r.r.ReadAt(ctx, p, off)
}

func (r stageRun) Places(off, n int64, f func(runOff, n int64, group chunkfmt.Seq, groupOff uint32) error) error {
	var err error
	r.r.Blocks(off, n, func(runOff int64, b *stage.Block) {
		if err != nil {
			return
		}
		group, at, hole, ok := b.Place()
		if !ok {
			return // the caller sees the gap
		}
		from, to := max(off, runOff), min(off+n, runOff+int64(b.Len()))
		if hole {
			group, at = 0, 0
		} else {
			at += uint32(from - runOff)
		}
		err = f(from, to-from, group, at)
	})
	return err
}
