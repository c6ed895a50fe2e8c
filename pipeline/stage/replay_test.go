package stage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"coffer/chunkfmt"
	"coffer/media"
)

// replayed is what a medium holds of a session.
type replayed struct {
	files  map[chunkfmt.Ino][]byte // after the last whole batch
	cut    uint64                  // of that
	chain  chunkfmt.Hash
	kinds  []chunkfmt.Kind // of all tags up to there and beyond
	groups map[chunkfmt.Seq][]byte
	stored map[chunkfmt.Seq]int // sealed length of each group
	footed int                  // chunks with a footer
	copies int                  // tags in mirror chunks
	raw    int                  // bytes of all groups
	pieces []storedPiece        // of checkpoints
}

type storedPiece struct {
	tag     chunkfmt.Tag
	payload []byte
}

// replay reads the log as recovery does: tags in order, until one is missing,
// torn or damaged. Everything that a batch names must stand before it.
func replay(ctx context.Context, m media.Medium) (*replayed, error) {
	r := &replayed{
		files: make(map[chunkfmt.Ino][]byte), groups: make(map[chunkfmt.Seq][]byte), stored: make(map[chunkfmt.Seq]int),
		chain: chunkfmt.SessionChain(chunkfmt.Hash{}, sessionID(1)),
	}
	list, err := m.List(ctx, media.VolumePrefix(testKeys.ID))
	if err != nil {
		return nil, err
	}
	sealer, err := sealerOf(1)
	if err != nil {
		return nil, err
	}
	var want uint64 = 1
	var parts [][]byte
	var watermark chunkfmt.Seq
	for _, info := range list {
		_, id, ok := media.ParseChunkName(info.Name)
		if !ok {
			return nil, fmt.Errorf("object %q", info.Name)
		}
		reader := media.Reader(ctx, m, info.Name)
		if tags, err := chunkfmt.ReadFooter(reader, info.Size); err == nil && len(tags) > 0 {
			r.footed++
		}
		s := chunkfmt.NewScanner(reader, info.Size)
		for {
			e, err := s.Next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = s.CheckPayload(e)
			}
			if err != nil {
				break // whatever is lost here may stand in the next chunk
			}
			if id.Mirror() {
				r.copies++
				continue
			}
			if e.Tag.Seq.Number() < want {
				continue // written again, after an append that was torn
			}
			if e.Tag.Seq.Number() > want {
				break
			}
			want++
			watermark = max(watermark, e.Tag.Watermark)
			plain, err := payload(reader, sealer, e)
			if err != nil {
				return nil, fmt.Errorf("tag %v: %w", e.Tag.Seq, err)
			}
			r.kinds = append(r.kinds, e.Tag.Kind)
			switch e.Tag.Kind {
			case chunkfmt.KindData:
				r.groups[e.Tag.Seq] = plain
				r.stored[e.Tag.Seq] = int(e.Tag.SealedLen)
				r.raw += len(plain)
			case chunkfmt.KindCheckpoint:
				r.pieces = append(r.pieces, storedPiece{e.Tag, plain})
			case chunkfmt.KindBatch:
				parts = append(parts, plain)
				if e.Tag.Flags&chunkfmt.FlagMore == 0 {
					if err := r.apply(parts); err != nil {
						return nil, fmt.Errorf("batch %v: %w", e.Tag.Seq, err)
					}
					parts = nil
				}
			}
		}
	}
	if watermark.Number() >= want {
		return nil, fmt.Errorf("the log ends before %d, but %v was acknowledged", want, watermark)
	}
	return r, nil
}

// payload reads and opens what follows a tag.
func payload(r io.ReaderAt, sealer *chunkfmt.Sealer, e chunkfmt.Entry) ([]byte, error) {
	sealed := make([]byte, e.Tag.SealedLen)
	if _, err := r.ReadAt(sealed, e.At+chunkfmt.TagSize+int64(e.Tag.OptionsLen)); err != nil {
		return nil, err
	}
	body, p, err := sealer.Open(nil, &e.Tag, e.Options, sealed)
	if err != nil {
		return nil, err
	}
	return chunkfmt.Decompress(nil, p.Codec, int(p.RawLen), body)
}

// apply takes in one whole batch.
func (r *replayed) apply(parts [][]byte) error {
	prev := r.chain
	sizes := make(map[chunkfmt.Ino]int)
	type extent struct {
		ino chunkfmt.Ino
		chunkfmt.Extent
	}
	var extents []extent
	for i, p := range parts {
		h, records := chunkfmt.ParseBatch(p)
		if h.Prev != prev || h.Part != uint32(i) {
			return fmt.Errorf("part %d is not the next of its chain", i)
		}
		r.cut = h.Cut
		r.chain = chunkfmt.NextChain(r.chain, p)
		for rec, err := range records {
			if err != nil {
				return err
			}
			switch rec.Kind {
			case chunkfmt.RecGroup:
				if err := r.checkGroup(rec); err != nil {
					return err
				}
			case chunkfmt.RecExtent:
				ino, _, err := chunkfmt.ParseExtentKey(rec.Key)
				e, err2 := chunkfmt.ParseExtent(rec.Value)
				if err := errors.Join(err, err2); err != nil {
					return err
				}
				extents = append(extents, extent{ino, e})
			case chunkfmt.RecMeta:
				ino, err := strconv.Atoi(string(rec.Key))
				if err != nil {
					return err
				}
				if sizes[chunkfmt.Ino(ino)], err = strconv.Atoi(string(rec.Value)); err != nil {
					return err
				}
			}
		}
	}
	for ino, n := range sizes {
		r.files[ino] = make([]byte, n)
	}
	for _, e := range extents {
		g, ok := r.groups[e.Group]
		if !ok {
			return fmt.Errorf("file %d names group %v, which does not stand before", e.ino, e.Group)
		}
		copy(r.files[e.ino][e.Offset:e.End()], g[e.GroupOffset:])
	}
	return nil
}

func (r *replayed) checkGroup(rec chunkfmt.Record) error {
	seq, err := chunkfmt.ParseGroupKey(rec.Key)
	if err != nil {
		return err
	}
	g, err := chunkfmt.ParseGroup(seq, rec.Value)
	if err != nil {
		return err
	}
	data, ok := r.groups[seq]
	if !ok || len(data) != int(g.RawLen) {
		return fmt.Errorf("group %v is not there, or of another length", seq)
	}
	for _, b := range g.Blocks {
		if testKeys.Sum(data[:b.Length]) != b.Fingerprint {
			return fmt.Errorf("group %v: another fingerprint", seq)
		}
		data = data[b.Length:]
	}
	return nil
}

// compare says where the files differ from what a cut has promised.
func (r *replayed) compare(want map[chunkfmt.Ino][]byte) error {
	for ino, data := range want {
		if got := r.files[ino]; !bytes.Equal(got, data) {
			return fmt.Errorf("cut %d: %w", r.cut, same(ino, got, data))
		}
	}
	return nil
}
