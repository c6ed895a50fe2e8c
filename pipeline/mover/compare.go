package mover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"

	"coffer/chunkfmt"
	"coffer/index"
)

// comparedArchives is how many archives' files are compared, chosen at random, beside the present.
const comparedArchives = 8

// Compare makes the index of a volume anew from the log, in a temporary folder, up to where that of a Reader goes, and
// calls f with each difference of the two, in words, until it returns false. It takes the time of a rebuild, and the room.
func Compare(ctx context.Context, o Options, r *Reader, f func(string) bool) (err error) {
	o.defaults()
	dir, err := os.MkdirTemp(o.StateDir, "compare-*")
	if err != nil {
		return fmt.Errorf("compare the index with the log: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &Source{o: o, keys: chunkfmt.DeriveVolumeKeys(o.Master, o.Store, o.Volume)}
	s.o.StateDir, s.o.Log = dir, slog.New(slog.DiscardHandler) // the reader has told of what is damaged
	s.log = newLog(o.Medium, o.Store, &s.keys)
	if s.index, err = index.Open(filepath.Join(dir, "index.db"), index.Identity{Store: o.Store, Volume: s.keys.ID}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.index.Close()) }()
	if s.heads, err = openHeadFile(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.heads.Close()) }()
	until := r.index.Head()
	s.apply = func(batches []index.Batch, head index.Head, locate index.Locate) error {
		return applyUntil(s.index, until, batches, head, locate)
	}
	if _, err := s.catchUp(ctx, index.Head{}); err != nil {
		return err
	}
	var archives []uint32
	err = r.index.Archives(0, func(a chunkfmt.ArchiveRecord) bool {
		archives = append(archives, a.Number)
		return true
	})
	if err != nil {
		return err
	}
	rand.Shuffle(len(archives), func(i, j int) { archives[i], archives[j] = archives[j], archives[i] })
	return index.Diff(r.index, s.index, archives[:min(len(archives), comparedArchives)], f)
}

// applyUntil leaves out the batches behind a head.
func applyUntil(x *index.Index, until index.Head, batches []index.Batch, head index.Head, locate index.Locate) error {
	if x.Head().Seq >= until.Seq {
		return nil
	}
	if head.Seq > until.Seq {
		n := len(batches)
		for n > 0 && batches[n-1].Header.Prefix >= until.Seq {
			n--
		}
		batches, head = batches[:n], until
	}
	return x.Apply(batches, head, locate)
}
