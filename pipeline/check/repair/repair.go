// Package repair puts right in a volume what can be: a damaged copy of metadata from the other one, a damaged tag from
// its chunk's directory, a directory from the tags. A group that is damaged in all its places is healed by groups that
// hold the same blocks, which is said in the log; it is then given up, and a void tag stands in its place.
//
// It finds no damage by itself, that is package check's, and writes nothing to the log: Heal gives the records that its
// caller is to put there. A chunk is written anew whole (media.Replacer), with all that is not damaged where it was, so
// that a crash or a reader meanwhile finds the old one or the new one.
//
// Start reading at Chunks, then chunk.go; heal.go is about groups.
package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
)

// Index is what is needed of the view of the log. *index.Index is one.
type Index interface {
	Group(seq chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error)
	Known(first chunkfmt.Seq, f func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error
	Gone(seq chunkfmt.Seq) (bool, error)
	Bad(seq chunkfmt.Seq) (why string, is bool, err error)
	BadGroups(f func(seq chunkfmt.Seq, why string) bool) error
	Healed(seq chunkfmt.Seq) ([]chunkfmt.Healed, error)
	HealedBlocks(f func(damaged chunkfmt.Seq, block chunkfmt.Healed) bool) error
	Uses(of func(chunkfmt.Seq) bool, f func(index.Use) bool) error
}

// Groups reads and checks groups. *stage.Groups is one.
type Groups interface {
	Check(tag *chunkfmt.Tag, options, sealed []byte) error
	Whole(ctx context.Context, seq chunkfmt.Seq) error
	ReadAt(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error
}

// Volume is what is repaired. Nobody else writes it meanwhile.
type Volume struct {
	Store  chunkfmt.StoreID
	ID     chunkfmt.VolumeID
	Medium media.Medium
	Index  Index
	Groups Groups
	// Session gives the id of the session of that ordinal.
	Session func(ctx context.Context, ordinal uint32) (chunkfmt.SessionID, error)
	// Current is the ordinal of the session that is being written, whose chunks are left alone.
	Current uint32
}

// Repair says what was put right in one object.
type Repair struct {
	Object string
	Fixed  int // places
	Void   int // of them, groups that were given up
	Left   int // places that could not be put right
}

// ErrUnable: the medium cannot write an object anew.
var ErrUnable = errors.New("chunks can't be written anew there")

// repairer is one run.
type repairer struct {
	Volume
	replacer media.Replacer
	chunks   map[chunkfmt.ChunkID]media.Info
	sessions map[uint32]*session
	givenUp  map[chunkfmt.Seq]bool // what is known of it
	// used is what is read of damaged groups; nil: not asked for yet.
	used map[chunkfmt.Seq]map[stretch]bool
}

// Chunks repairs chunks, which may be missing, and calls report for each that there was something to do in. What the log
// is to say of damaged groups must be in the index. It fails with ErrUnable.
func Chunks(ctx context.Context, v Volume, ids []chunkfmt.ChunkID, report func(Repair)) error {
	r := &repairer{
		Volume: v, chunks: map[chunkfmt.ChunkID]media.Info{}, sessions: map[uint32]*session{}, givenUp: map[chunkfmt.Seq]bool{},
	}
	var ok bool
	if r.replacer, ok = v.Medium.(media.Replacer); !ok {
		return ErrUnable
	}
	list, err := v.Medium.List(ctx, media.VolumePrefix(v.ID))
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	for _, info := range list {
		if _, id, ok := media.ParseChunkName(info.Name); ok {
			r.chunks[id] = info
		}
	}
	for _, id := range ids {
		if id.Ordinal() >= v.Current {
			continue
		}
		done, err := r.chunk(ctx, id)
		if errors.Is(err, errors.ErrUnsupported) {
			return ErrUnable
		}
		if err != nil {
			return fmt.Errorf("repair %s: %w", media.ChunkName(v.ID, id), err)
		}
		if done.Fixed+done.Left > 0 {
			report(done)
		}
	}
	return nil
}

// up says whether a damaged group need not be read from its own place any more: each of its blocks is read elsewhere, or
// by nobody, or the log says that it may go.
func (r *repairer) up(ctx context.Context, seq chunkfmt.Seq) (bool, error) {
	is, known := r.givenUp[seq]
	if known {
		return is, nil
	}
	rec, _, there, err := r.Index.Group(seq)
	if err != nil {
		return false, err
	}
	gone, err := r.Index.Gone(seq)
	if err != nil {
		return false, err
	}
	if !there || gone {
		r.givenUp[seq] = true
		return true, nil
	}
	if _, bad, err := r.Index.Bad(seq); err != nil || !bad {
		return false, err
	}
	healed, err := r.Index.Healed(seq)
	if err != nil {
		return false, err
	}
	used, err := r.uses(seq)
	if err != nil {
		return false, err
	}
	is = true
	at := uint32(0)
	for _, b := range rec.Blocks {
		block := stretch{at, at + b.Length}
		at = block.to
		if !block.in(used) {
			continue
		}
		elsewhere := slices.ContainsFunc(healed, func(h chunkfmt.Healed) bool { return h.Offset == block.from && h.Length == b.Length })
		if !elsewhere || r.Groups.ReadAt(ctx, seq, make([]byte, b.Length), block.from) != nil {
			is = false
			break
		}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	r.givenUp[seq] = is
	return is, nil
}

// stretch is a part of a group's plaintext, bytes.
type stretch struct{ from, to uint32 }

// in says whether the stretch has a byte in common with one of others.
func (s stretch) in(others map[stretch]bool) bool {
	for o := range others {
		if s.from < o.to && o.from < s.to {
			return true
		}
	}
	return false
}

// uses gives what of a damaged group a file of any time has, or a group that was healed from it.
func (r *repairer) uses(seq chunkfmt.Seq) (map[stretch]bool, error) {
	if r.used != nil {
		return r.used[seq], nil
	}
	used := map[chunkfmt.Seq]map[stretch]bool{}
	err := r.Index.BadGroups(func(seq chunkfmt.Seq, _ string) bool {
		used[seq] = map[stretch]bool{}
		return true
	})
	if err == nil {
		err = r.Index.Uses(func(seq chunkfmt.Seq) bool { return used[seq] != nil }, func(u index.Use) bool {
			used[u.Group][stretch{u.Offset, u.Offset + u.Length}] = true
			return true
		})
	}
	if err == nil {
		err = r.Index.HealedBlocks(func(_ chunkfmt.Seq, h chunkfmt.Healed) bool {
			if u := used[h.Group]; u != nil {
				u[stretch{h.GroupOffset, h.GroupOffset + h.Length}] = true
			}
			return true
		})
	}
	if err != nil {
		return nil, err
	}
	r.used = used
	return used[seq], nil
}
