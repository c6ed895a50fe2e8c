package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/pipeline/stage"
)

var errFull = errors.New("fake medium is full")

// fakeLog is a pipe that keeps everything in memory: collector, pack and medium.
// Blocks are tiny, so that a few bytes meet every case of the real one.
type fakeLog struct {
	wg sync.WaitGroup

	mu       sync.Mutex
	queue    []stage.Marker
	wake     *sync.Cond
	closed   bool
	hold     bool // markers wait
	ackErr   error
	full     error // of Begin
	groups   map[chunkfmt.Seq][]byte
	seq      uint64
	ordinal  uint32
	streams  []*fakeStream
	cuts     []fakeCut
	archives uint32 // sealed
	forgot   chunkfmt.Seq

	begins  int    // slots not released
	onCut   func() // at the instant of each cut
	oddTail bool   // end every other unfinished block instead of a tail
}

// fakeCut is a cut as it went into the log.
type fakeCut struct {
	batch index.Batch
	head  index.Head
}

const fakeBlock = 16

type fakeStream struct {
	owner any
	run   *fakeRun
	off   int64 // of the run in the file
	open  []byte
	at    int64 // of open in the run
	clean bool
	again bool
}

type fakeRun struct {
	log    *fakeLog
	blocks []fakeBlockAt
	s      *fakeStream // while it has open bytes
}

type fakeBlockAt struct {
	off  int64
	n    int64
	seq  chunkfmt.Seq // 0: zeros
	data []byte
}

func newFakeLog() *fakeLog {
	l := &fakeLog{groups: make(map[chunkfmt.Seq][]byte), ordinal: 1}
	l.wake = sync.NewCond(&l.mu)
	l.wg.Go(l.pack)
	return l
}

// restart begins another session after an end.
func (l *fakeLog) restart() {
	l.wg.Wait()
	l.mu.Lock()
	l.closed, l.streams = false, nil
	l.ordinal++
	l.mu.Unlock()
	l.wg.Go(l.pack)
}

func (l *fakeLog) next() chunkfmt.Seq {
	l.seq++
	return chunkfmt.MakeSeq(l.ordinal, l.seq)
}

// pack encodes and acknowledges markers, in a goroutine of its own as the real one.
func (l *fakeLog) pack() {
	for {
		l.mu.Lock()
		for (len(l.queue) == 0 || l.hold) && !l.closed {
			l.wake.Wait()
		}
		if len(l.queue) == 0 {
			l.mu.Unlock()
			return
		}
		m := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		var sink fakeSink
		if err := m.Batch.Encode(&sink); err != nil {
			m.Acked(err)
			continue
		}
		l.mu.Lock()
		if m.Kind == stage.MarkArchive {
			l.archives++
			_ = sink.Add(chunkfmt.Record{Op: chunkfmt.OpPut, Kind: chunkfmt.RecArchive,
				Key: chunkfmt.ArchiveKey(l.archives), Value: m.Archive.Append(nil)})
		}
		cut := fakeCut{
			batch: index.Batch{Header: chunkfmt.BatchHeader{Version: chunkfmt.BatchVersion, Cut: uint64(len(l.cuts) + 1), Archive: 1}, Records: sink.records},
			head:  index.Head{Ordinal: l.ordinal, Seq: l.next()},
		}
		l.cuts = append(l.cuts, cut)
		err := l.ackErr
		l.mu.Unlock()
		m.Journalled(stage.Journal{
			Head:    stage.Head(cut.head),
			Batches: []stage.Batch{{Seq: cut.head.Seq, Header: cut.batch.Header, Records: sink.records}},
		})
		m.Acked(err)
		if m.Kind == stage.MarkEnd {
			return
		}
	}
}

type fakeSink struct{ records []chunkfmt.Record }

func (s *fakeSink) Add(r chunkfmt.Record) error {
	r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	s.records = append(s.records, r)
	return nil
}

func (l *fakeLog) NewStream(owner any) Stream { return &fakeStream{owner: owner} }

func (l *fakeLog) Begin(ctx context.Context, s Stream, off int64, n int) (Slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != nil {
		return nil, l.full
	}
	if n > WriteMax || n == 0 {
		return nil, fmt.Errorf("begin of %d bytes", n)
	}
	l.begins++
	return &fakeSlot{l, s.(*fakeStream)}, nil
}

type fakeSlot struct {
	l *fakeLog
	s *fakeStream
}

func (w *fakeSlot) Release() {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	w.l.begins--
}

func (w *fakeSlot) Write(p []byte, off int64, out []Piece) []Piece {
	l, s := w.l, w.s
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return out
	}
	if s.run != nil {
		if at := s.off + s.at; off < at || off > at+int64(len(s.open)) {
			l.finish(s)
		}
	}
	if s.run == nil {
		s.run = &fakeRun{log: l, s: s}
		s.off, s.at, s.open, s.again = off, 0, nil, false
		l.streams = append(l.streams, s)
	}
	at := s.off + s.at
	from := off
	if s.again {
		from = at
	}
	to := max(off+int64(len(p)), at+int64(len(s.open)))
	if !s.again {
		to = off + int64(len(p))
	}
	s.again, s.clean = false, false
	piece := Piece{Off: from, Len: to - from, Run: s.run, RunOff: from - s.off}
	open := bytes.Clone(s.open) // readers may have the old one
	k := int(off - at)
	if over := k + len(p) - len(open); over > 0 {
		open = append(open, make([]byte, over)...)
	}
	copy(open[k:], p)
	s.open = open
	for len(s.open) > fakeBlock {
		l.block(s, fakeBlock)
	}
	return append(out, piece)
}

// block ends the first n open bytes as a block.
func (l *fakeLog) block(s *fakeStream, n int) {
	s.run.blocks = append(s.run.blocks, l.store(s.at, s.open[:n]))
	s.open = s.open[n:]
	s.at += int64(n)
	s.clean, s.again = false, false
}

func (l *fakeLog) store(off int64, data []byte) fakeBlockAt {
	b := fakeBlockAt{off: off, n: int64(len(data)), data: bytes.Clone(data)}
	if len(bytes.Trim(data, "\x00")) > 0 {
		b.seq = l.next()
		l.groups[b.seq] = b.data
	}
	return b
}

func (l *fakeLog) finish(s *fakeStream) {
	if s.run == nil {
		return
	}
	if len(s.open) > 0 {
		l.block(s, len(s.open))
	}
	s.run.s = nil
	s.run = nil
	for k, x := range l.streams {
		if x == s {
			l.streams = append(l.streams[:k], l.streams[k+1:]...)
			break
		}
	}
}

func (l *fakeLog) Finish(s Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(s.(*fakeStream))
}

func (l *fakeLog) Prepare(ctx context.Context) (CutSlot, error) { return fakeCutSlot{l}, ctx.Err() }

type fakeCutSlot struct{ l *fakeLog }

func (c fakeCutSlot) Release() {}

func (c fakeCutSlot) Cut(m stage.Marker) []Tail {
	l := c.l
	if l.onCut != nil {
		l.onCut()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var tails []Tail
	for k, s := range l.streams {
		switch {
		case len(s.open) == 0 || s.clean:
		case m.Kind == stage.MarkEnd, l.oddTail && k%2 == 1:
			l.block(s, len(s.open))
		default:
			r := &fakeRun{log: l, blocks: []fakeBlockAt{l.store(0, s.open)}}
			tails = append(tails, Tail{Owner: s.owner, Off: s.off + s.at, Len: int64(len(s.open)), Run: r})
			s.clean, s.again = true, true
		}
	}
	if m.Kind == stage.MarkEnd {
		l.closed = true
	}
	l.queue = append(l.queue, m)
	l.wake.Broadcast()
	return tails
}

func (r *fakeRun) ReadAt(ctx context.Context, p []byte, off int64) error {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	for _, b := range r.blocks {
		if len(p) > 0 && off >= b.off && off < b.off+b.n {
			n := copy(p, b.data[off-b.off:])
			p, off = p[n:], off+int64(n)
		}
	}
	if s := r.s; len(p) > 0 && s != nil && off >= s.at && off < s.at+int64(len(s.open)) {
		p = p[copy(p, s.open[off-s.at:]):]
	}
	if len(p) > 0 {
		return fmt.Errorf("run has no %d bytes at %d", len(p), off)
	}
	return nil
}

func (r *fakeRun) Places(off, n int64, f func(runOff, n int64, group chunkfmt.Seq, groupOff uint32) error) error {
	r.log.mu.Lock()
	blocks := r.blocks
	r.log.mu.Unlock()
	for _, b := range blocks {
		from, to := max(off, b.off), min(off+n, b.off+b.n)
		if from >= to {
			continue
		}
		if err := f(from, to-from, b.seq, uint32(from-b.off)); err != nil {
			return err
		}
	}
	return nil
}

// Groups.

func (l *fakeLog) ReadAt(ctx context.Context, g chunkfmt.Seq, p []byte, off uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	data, ok := l.groups[g]
	if !ok || int(off)+len(p) > len(data) {
		return fmt.Errorf("no %d bytes at %d of group %v", len(p), off, g)
	}
	copy(p, data[off:])
	return nil
}

func (l *fakeLog) Prefetch(...chunkfmt.Seq) {}

// Flight.

func (l *fakeLog) Location(chunkfmt.Seq) (chunkfmt.Location, bool) {
	return chunkfmt.Location{}, false
}

func (l *fakeLog) Forget(upTo chunkfmt.Seq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgot = upTo
	l.wake.Broadcast()
}

// settle waits until the index has every cut.
func (l *fakeLog) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.cuts) > 0 && l.forgot < l.cuts[len(l.cuts)-1].head.Seq {
		l.wake.Wait()
	}
}

func openIndex(t testing.TB) *index.Index {
	t.Helper()
	x, err := index.Open(t.TempDir()+"/index", index.Identity{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// indexAt applies the first n cuts to a fresh index.
func (l *fakeLog) indexAt(t testing.TB, n int) *index.Index {
	t.Helper()
	x := openIndex(t)
	l.mu.Lock()
	cuts := l.cuts[:n]
	l.mu.Unlock()
	var batches []index.Batch
	for _, c := range cuts {
		batches = append(batches, c.batch)
	}
	if n > 0 {
		if err := x.Apply(batches, cuts[n-1].head, l.Location); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// drop evicts every inode that nobody uses.
func (t *table) drop() {
	for k := range t.shards {
		s := &t.shards[k]
		s.mu.Lock()
		for _, i := range s.inodes {
			if i.pins.Load() == 0 {
				s.remove(i)
			}
		}
		s.mu.Unlock()
	}
}
