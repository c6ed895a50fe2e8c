// Package check finds out whether a volume is whole: that its chunks hold every group and every batch that the index
// knows of, that what stands in them is as it was written, and, with the key, that each block has its fingerprint. What
// is not so is told with the files and archives concerned.
//
// Reading every byte and telling damage from what a crash leaves is media/scrub's work, reading groups pipeline/stage's;
// here the two are compared with the index. It writes nothing: Result.Amendments are for the log, so that what was found
// damaged is not referred to again, and package repair, its child, puts right what can be.
//
// Start reading at Run.
package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"coffer/chunkfmt"
	"coffer/index"
	"coffer/media"
	"coffer/media/scrub"
	"coffer/pipeline/stage"
)

// Index is what is needed of the view of the log. *index.Index is one.
type Index interface {
	At(archive uint32) *index.Reader
	Archives(after uint32, f func(chunkfmt.ArchiveRecord) bool) error
	Group(seq chunkfmt.Seq) (chunkfmt.GroupRecord, chunkfmt.Location, bool, error)
	Known(first chunkfmt.Seq, f func(chunkfmt.GroupRecord, chunkfmt.Location) bool) error
	Gone(seq chunkfmt.Seq) (bool, error)
	Bad(seq chunkfmt.Seq) (why string, is bool, err error)
	BadGroups(f func(seq chunkfmt.Seq, why string) bool) error
	Healed(seq chunkfmt.Seq) ([]chunkfmt.Healed, error)
	HealedBlocks(f func(damaged chunkfmt.Seq, block chunkfmt.Healed) bool) error
	Needs(seq chunkfmt.Seq, f func(chunkfmt.Seq) bool) error
	Uses(of func(chunkfmt.Seq) bool, f func(index.Use) bool) error
}

// Groups reads and checks groups. *stage.Groups is one.
type Groups interface {
	Check(tag *chunkfmt.Tag, options, sealed []byte) error
	Whole(ctx context.Context, seq chunkfmt.Seq) error
	ReadAt(ctx context.Context, seq chunkfmt.Seq, p []byte, off uint32) error
}

// Volume is what is checked. All that its index has was acknowledged before Run is called.
type Volume struct {
	ID     chunkfmt.VolumeID
	Medium media.Medium
	Index  Index
	Groups Groups
	// Newest gives a newer state of the index: groups may be taken off the medium while it is checked. Nil: Index is
	// always the newest.
	Newest func(ctx context.Context) (*index.Index, error)
}

// Options says how to check. The zero value reads no data but that of groups known as damaged.
type Options struct {
	// Pick says of each group whether its data is to be read; nil: of none. Those known to be damaged always are.
	Pick func(chunkfmt.Seq) bool
	Rate int64 // bytes a second that are read; 0: no limit
	// Progress is called now and then with how far the check has come, bytes; nil: nobody is.
	Progress func(done, total int64)
	// Wait waits to keep to the rate; nil: by a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Result says what a check has read and found.
type Result struct {
	Objects  int   // of the medium
	Bytes    int64 // read from them
	Groups   int   // in the index
	Read     int   // of them, those whose data was read
	Findings int
	Untold   int // of them, those that were too many to be kept and reported
	Lost     int // groups of which files miss something

	amendments []chunkfmt.Record
}

// Amendments are the records that the log is to have so that groups found damaged are not referred to again, and those
// found whole again are.
func (r *Result) Amendments() []chunkfmt.Record { return r.amendments }

// maxFindings bounds the findings that are kept until all is read, and so the memory.
const maxFindings = 100_000

// run is one check. One goroutine.
type run struct {
	Volume
	o      Options
	result Result

	bad      map[chunkfmt.Seq]bool // known to be damaged, as the log says
	found    []scrub.Finding
	doubted  seqSet // numbers that findings are about
	seen     seqSet // numbers of whole tags of data that are not void
	read     seqSet // of them, those whose data is as it was written
	suspects map[chunkfmt.Seq]string
	lost     map[chunkfmt.Seq][]stretch // of groups that are damaged, what can't be read elsewhere either
}

// Run checks a volume and calls report for each finding, from its own goroutine and not before all is read. An error
// is the medium's, the index's or the context's, and says that not all was checked.
func Run(ctx context.Context, v Volume, o Options, report func(Finding)) (Result, error) {
	r := &run{
		Volume: v, o: o, bad: map[chunkfmt.Seq]bool{}, suspects: map[chunkfmt.Seq]string{}, lost: map[chunkfmt.Seq][]stretch{},
	}
	err := r.run(ctx, report)
	return r.result, err
}

func (r *run) run(ctx context.Context, report func(Finding)) error {
	err := r.Index.BadGroups(func(seq chunkfmt.Seq, _ string) bool {
		r.bad[seq] = true
		return true
	})
	if err != nil {
		return err
	}
	// What the catalog says was so before the chunks are listed.
	cataloged, err := r.catalog(ctx)
	if err != nil {
		return err
	}
	read, err := scrub.Run(ctx, r.Medium, scrub.Options{
		Rate: r.o.Rate, Wait: r.o.Wait, Volume: &r.ID, StoreFiles: true,
		Skip: r.skip, Visit: r.visit, Progress: r.progress,
	}, r.take)
	r.result.Objects, r.result.Bytes = read.Objects, read.Bytes
	if err != nil {
		return err
	}
	for _, s := range []*seqSet{&r.doubted, &r.seen, &r.read} {
		s.settle()
	}
	if err := r.missingChunks(ctx, cataloged); err != nil {
		return err
	}
	if err := r.suspect(ctx); err != nil {
		return err
	}
	if err := r.judge(ctx); err != nil {
		return err
	}
	return r.tell(ctx, report)
}

func (r *run) progress(_ scrub.Position, done, total int64) {
	if r.o.Progress != nil {
		r.o.Progress(done, total)
	}
}

// skip says of a whole tag whether what stands behind it is not to be read.
func (r *run) skip(t *chunkfmt.Tag) bool {
	if t.Kind != chunkfmt.KindData {
		return false
	}
	if t.Flags&chunkfmt.FlagVoid != 0 {
		return true
	}
	r.seen.add(t.Seq, t.Seq)
	return !r.bad[t.Seq] && (r.o.Pick == nil || !r.o.Pick(t.Seq))
}

// visit checks what stands behind a tag, which fits its CRC.
func (r *run) visit(_ media.Chunk, t *chunkfmt.Tag, _ int64, options, sealed []byte) error {
	err := r.Groups.Check(t, options, sealed)
	if err == nil && t.Kind == chunkfmt.KindData {
		r.read.add(t.Seq, t.Seq)
		r.result.Read++
	}
	return err
}

// take keeps a finding, and doubts what it is about.
func (r *run) take(f scrub.Finding) {
	r.result.Findings++
	if len(r.found) == maxFindings {
		r.result.Untold++
	} else {
		r.found = append(r.found, f)
	}
	if f.Copy() {
		return // what is stored first is another finding, or none
	}
	for _, s := range f.Seqs {
		r.doubted.add(s.First, s.Last)
	}
}

// suspect goes through all groups that the media have to have and finds those that may not be whole. Those that no chunk
// has are findings.
func (r *run) suspect(ctx context.Context) error {
	var missing []chunkfmt.Seq
	err := r.Index.Known(0, func(g chunkfmt.GroupRecord, _ chunkfmt.Location) bool {
		r.result.Groups++
		switch {
		case r.doubted.has(g.Seq):
			r.suspects[g.Seq] = "" // the finding says why
		case r.bad[g.Seq]:
			r.suspects[g.Seq] = "it was found damaged before"
		case !r.seen.has(g.Seq):
			missing = append(missing, g.Seq)
		}
		return true
	})
	if err == nil {
		missing, err = r.stillMissing(ctx, missing)
	}
	if err != nil {
		return err
	}
	var ranges []scrub.Range
	for _, seq := range missing {
		r.suspects[seq] = "no chunk has it"
		if n := len(ranges); n > 0 && ranges[n-1].Last+1 == seq {
			ranges[n-1].Last = seq
		} else {
			ranges = append(ranges, scrub.Range{First: seq, Last: seq})
		}
	}
	for _, m := range ranges {
		_, at, _, err := r.Index.Group(m.First)
		if err != nil {
			return err
		}
		f := scrub.Finding{
			Volume: r.ID.String(), What: scrub.Missing, Kind: chunkfmt.KindData, Seqs: []scrub.Range{m},
			Object: media.VolumePrefix(r.ID), Cause: "no chunk has it",
		}
		if at.Chunk != 0 {
			f.Object, f.Chunk, f.Offset = media.ChunkName(r.ID, at.Chunk), at.Chunk, int64(at.Offset)
		}
		r.take(f)
	}
	return nil
}

// stillMissing leaves out what the log has removed or moved since.
func (r *run) stillMissing(ctx context.Context, missing []chunkfmt.Seq) (still []chunkfmt.Seq, err error) {
	if len(missing) == 0 || r.Newest == nil {
		return missing, nil
	}
	newest, err := r.Newest(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil { // what is missing may be why
		return missing, nil
	}
	for _, seq := range missing {
		gone, err := newest.Gone(seq)
		if err != nil {
			return nil, err
		}
		if !gone {
			still = append(still, seq)
		}
	}
	return still, nil
}

// maxWhy bounds what the log keeps of why a group is damaged, bytes.
const maxWhy = 500

// judge reads every group that is suspected once more, wherever it may be, and says what became of those that the log
// calls damaged.
func (r *run) judge(ctx context.Context) error {
	causes := newCauses(r.found)
	amend := func(op chunkfmt.Op, seq chunkfmt.Seq, why string) {
		record := chunkfmt.Record{Op: op, Kind: chunkfmt.RecBad, Key: chunkfmt.BadKey(seq)}
		if op == chunkfmt.OpPut {
			record.Value = []byte(why[:min(len(why), maxWhy)])
		}
		r.result.amendments = append(r.result.amendments, record)
	}
	for _, seq := range sorted(r.suspects) {
		err := ctx.Err()
		if err == nil && !r.read.has(seq) {
			err = r.Groups.Whole(ctx, seq)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && r.bad[seq]:
			amend(chunkfmt.OpDelete, seq, "")
		case err == nil: // another place of it is whole
		case !errors.Is(err, stage.ErrDamaged) && !causes.unreadable:
			return fmt.Errorf("read group %v once more: %w", seq, err)
		default:
			why := r.suspects[seq]
			if why == "" {
				why = causes.of(seq)
			}
			if !r.bad[seq] {
				amend(chunkfmt.OpPut, seq, why)
			}
			if r.lost[seq], err = r.lostOf(ctx, seq); err != nil {
				return err
			}
		}
	}
	return r.judgeMoved(ctx)
}

// judgeMoved finds what can't be read of groups that were given up, since the groups that it was moved to are damaged.
func (r *run) judgeMoved(ctx context.Context) error {
	if len(r.lost) == 0 {
		return nil
	}
	moved := map[chunkfmt.Seq][]stretch{}
	err := r.Index.HealedBlocks(func(from chunkfmt.Seq, b chunkfmt.Healed) bool {
		_, known := r.lost[from]
		if _, lost := r.lost[b.Group]; lost && !known {
			moved[from] = append(moved[from], stretch{b.Offset, b.Offset + b.Length})
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, seq := range sorted(moved) {
		for _, b := range moved[seq] {
			if err := r.Groups.ReadAt(ctx, seq, make([]byte, b.to-b.from), b.from); ctx.Err() != nil {
				return ctx.Err()
			} else if err != nil {
				r.lost[seq] = append(r.lost[seq], b)
			}
		}
	}
	return nil
}

// stretch is a part of a group's plaintext, bytes.
type stretch struct{ from, to uint32 }

// lostOf gives what of a damaged group can't be read from other groups: all of it, as a rule.
func (r *run) lostOf(ctx context.Context, seq chunkfmt.Seq) (lost []stretch, err error) {
	rec, _, _, err := r.Index.Group(seq)
	if err != nil {
		return nil, err
	}
	healed, err := r.Index.Healed(seq)
	if err != nil {
		return nil, err
	}
	if len(healed) == 0 {
		return []stretch{{0, rec.RawLen}}, nil
	}
	at := uint32(0)
	for _, b := range rec.Blocks {
		if err := r.Groups.ReadAt(ctx, seq, make([]byte, b.Length), at); ctx.Err() != nil {
			return nil, ctx.Err()
		} else if err != nil {
			lost = append(lost, stretch{at, at + b.Length})
		}
		at += b.Length
	}
	return lost, nil
}
