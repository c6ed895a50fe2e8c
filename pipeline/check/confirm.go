package check

import (
	"context"
	"errors"
	"fmt"

	"coffer/chunkfmt"
	"coffer/pipeline/stage"
)

// Confirm gives those of a check's amendments that hold still, for a volume that is written meanwhile: groups move, go,
// and are healed.
func Confirm(ctx context.Context, x Index, groups Groups, amendments []chunkfmt.Record) (hold []chunkfmt.Record, err error) {
	for _, r := range amendments {
		seq, err := chunkfmt.ParseGroupKey(r.Key)
		if err != nil {
			return nil, err
		}
		_, _, known, err := x.Group(seq)
		if err != nil {
			return nil, err
		}
		gone, err := x.Gone(seq)
		if err != nil {
			return nil, err
		}
		if !known || gone {
			continue
		}
		_, bad, err := x.Bad(seq)
		if err != nil {
			return nil, err
		}
		err = groups.Whole(ctx, seq)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && !errors.Is(err, stage.ErrDamaged):
			return nil, fmt.Errorf("read group %v once more: %w", seq, err)
		case (err == nil) == bad && bad == (r.Op == chunkfmt.OpDelete):
			hold = append(hold, r)
		}
	}
	return hold, nil
}
