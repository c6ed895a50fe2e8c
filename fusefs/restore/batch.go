package restore

import (
	"cmp"
	"context"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many files are put in order at a time: all of a small volume, and
	// of a large one so many that most groups are read once.
	batchSize = 1 << 15
	// bundleSize is how many files of one group, or without content, are one job.
	bundleSize = 64
)

// job is some files for one writer, or a piece of a large one.
type job struct {
	files []*file
	piece *piece
}

// hand makes jobs of what was planned. Files of one group are one job: its writer reads
// the group, and the others read other groups meanwhile.
func (r *Run) hand(ctx context.Context) error {
	for batch := range r.batches {
		slices.SortStableFunc(batch, func(a, b *file) int { return cmp.Compare(a.group, b.group) })
		for len(batch) > 0 {
			n := 1
			for n < len(batch) && n < bundleSize && batch[n].group == batch[0].group {
				n++
			}
			if err := r.give(ctx, batch[:n]); err != nil {
				return err
			}
			batch = batch[n:]
		}
	}
	return nil
}

func (r *Run) give(ctx context.Context, files []*file) error {
	small := files[:0:0]
	for _, f := range files {
		if f.Mode&unix.S_IFMT != unix.S_IFREG || int64(f.Size) <= r.piece {
			small = append(small, f)
			continue
		}
		if err := r.judge(ctx, f.path, r.cut(ctx, f)); err != nil {
			return err
		}
	}
	if len(small) == 0 {
		return nil
	}
	return r.send(ctx, job{files: small})
}

func (r *Run) send(ctx context.Context, j job) error {
	select {
	case r.jobs <- j:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
