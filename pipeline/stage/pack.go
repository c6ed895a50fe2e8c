package stage

import (
	"context"
	"fmt"
	"io"

	"coffer/chunkfmt"
	"coffer/pipeline"
)

// Limits of a group of small blocks.
const (
	groupBytes  = 256 << 10
	groupBlocks = 4096
)

// pack is the one place with an order: it gives groups their sequence numbers,
// leaves out what is known or zero, and journals batches when their turn comes.
// It has one instance.
type pack struct {
	w    *Writer
	port *pipeline.Port
	log  logState

	groups []group // of the buffer at hand
	open   *group  // the last of groups, if small blocks may be added to it
	data   []byte  // of the buffer at hand
	// local has the places of the blocks of the open group, which the dedup
	// table does not know yet.
	local   map[chunkfmt.Fingerprint]localPlace
	pending []chunkfmt.GroupRecord // since the last batch
	healed  []chunkfmt.Record      // likewise: what is found in groups that was lost in others
	// checkpoint is the number of the first piece of the one that is under way.
	checkpoint chunkfmt.Seq
}

type localPlace struct {
	off    uint32
	length int
}

func newPack(w *Writer) *pack {
	return &pack{w: w, local: make(map[chunkfmt.Fingerprint]localPlace), log: newLogState(&w.cfg)}
}

func (k *pack) Run(ctx context.Context, p *pipeline.Port) error {
	k.port = p
	if err := k.begin(ctx); err != nil {
		return fmt.Errorf("beginning the session: %w", err)
	}
	for {
		buf, err := p.ReceiveBuf(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch l := buf.Payload.(type) {
		case *load:
			err = k.pack(buf, l.blocks)
		case *waiter:
			p.FreeBuf(buf)
			err = k.mark(ctx, l)
		case *piece:
			k.piece(buf, l)
		}
		if err != nil {
			return err
		}
	}
}

// pack makes groups of the blocks of a buffer.
func (k *pack) pack(buf *pipeline.Buffer, blocks []*Block) error {
	k.groups, k.data = nil, buf.Data()
	for _, b := range blocks {
		if err := k.block(b); err != nil {
			return err
		}
	}
	k.close()
	if len(k.groups) == 0 {
		k.port.FreeBuf(buf)
		return nil
	}
	buf.Payload = &packed{groups: k.groups}
	k.port.SendBuf(buf)
	return nil
}

// block finds the place of one block.
func (k *pack) block(b *Block) error {
	if b.zero {
		b.placeHole()
		k.w.flow.settle(int64(b.n))
		return nil
	}
	seq, off, known, err := k.known(b)
	if err != nil {
		return err
	}
	if known {
		k.heal(b, seq, off)
		b.place(seq, off, nil)
		k.w.flow.settle(int64(b.n))
		k.w.stats.duplicate.Add(int64(b.n))
		return nil
	}
	switch g := k.open; {
	case b.n >= SmallBlock:
		k.close()
		k.start(b)
		k.close()
	case g == nil || len(g.plain)+b.n > groupBytes || len(k.local) >= groupBlocks:
		k.close()
		k.start(b)
	default:
		k.append(g, b)
	}
	return nil
}

// known looks for the block in the group at hand and in the volume.
func (k *pack) known(b *Block) (seq chunkfmt.Seq, off uint32, ok bool, err error) {
	if k.open != nil {
		if at, ok := k.local[b.fp]; ok && at.length == b.n {
			return k.open.seq, at.off, true, nil
		}
	}
	if k.w.cfg.Dedup == nil || b.anew {
		return 0, 0, false, nil
	}
	at, ok, err := k.w.cfg.Dedup.Lookup(b.fp, uint32(b.n))
	return at.Seq, at.Offset, ok, err
}

// start begins a group with b, whose bytes stay where they are.
func (k *pack) start(b *Block) {
	seq := k.log.next()
	k.groups = append(k.groups, group{kind: chunkfmt.KindData, seq: seq, entry: k.w.cfg.Flight.add(seq, k.w.mem)})
	k.open = &k.groups[len(k.groups)-1]
	k.open.plain = k.data[b.at:b.at:len(k.data)]
	k.append(k.open, b)
}

// append moves b's bytes to the end of the group's. What lies there is b itself
// or blocks that were dropped: large ones end a group.
func (k *pack) append(g *group, b *Block) {
	at := len(g.plain)
	g.plain = g.plain[:at+b.n]
	off := g.entry.add(b)
	k.heal(b, g.seq, off)
	b.place(g.seq, off, g.plain[at:])
	k.local[b.fp] = localPlace{off, b.n}
}

// close ends the open group.
func (k *pack) close() {
	g := k.open
	if g == nil {
		return
	}
	k.open = nil
	clear(k.local)
	rec := g.entry.record()
	g.content = make([]byte, 0, len(rec.Blocks)*len(chunkfmt.Fingerprint{}))
	for i := range rec.Blocks {
		g.content = append(g.content, rec.Blocks[i].Fingerprint[:]...)
	}
	g.private = chunkfmt.Private{RawLen: rec.RawLen, Blocks: uint16(len(rec.Blocks))}
	if len(rec.Blocks) > 1 {
		g.private.Marks |= chunkfmt.MarkFileGroup
	}
	if k.w.cfg.Dedup != nil {
		k.w.cfg.Dedup.Add(rec)
	}
	k.pending = append(k.pending, rec)
	k.log.groups++
	k.log.raw += uint64(rec.RawLen)
}
