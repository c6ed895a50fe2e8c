package check

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"coffer/chunkfmt"
	"coffer/media"
	"coffer/media/scrub"
)

// Finding is one thing that is not as it was written, and what it does to the volume.
type Finding struct {
	scrub.Finding
	// Groups are those that files miss because of it, in all or in part, ascending.
	Groups []chunkfmt.Seq
	// Healed says that it is about data, and that nothing is lost by it: other groups have its blocks, another place of
	// it is whole, or no file has it any more.
	Healed bool
	Files  []File // whose reads fail
}

// tell names what each finding does to the volume, and reports it.
func (r *run) tell(ctx context.Context, report func(Finding)) error {
	names, err := r.files(ctx)
	if err != nil {
		return err
	}
	missed := maps.Clone(r.lost)
	maps.DeleteFunc(missed, func(seq chunkfmt.Seq, _ []stretch) bool { return len(names.files[seq]) == 0 })
	r.result.Lost = len(missed)
	beside, err := r.beside(missed)
	if err != nil {
		return err
	}
	all := sorted(r.lost)
	for _, f := range r.found {
		told := Finding{Finding: f}
		data := false
		for _, s := range f.Seqs {
			if f.Copy() {
				break
			}
			data = data || f.Kind == chunkfmt.KindData
			i, _ := slices.BinarySearch(all, s.First)
			for ; i < len(all) && all[i] <= s.Last; i++ {
				if _, is := missed[all[i]]; is {
					told.Groups = append(told.Groups, all[i])
				}
				told.Groups = append(told.Groups, beside[all[i]]...)
			}
		}
		slices.Sort(told.Groups)
		told.Groups = slices.Compact(told.Groups)
		told.Healed = data && len(told.Groups) == 0
		told.Files = names.of(told.Groups)
		report(told)
	}
	return nil
}

// beside finds, of the groups that files miss, those that no finding is about: they are read from groups that are
// damaged now, which the findings about those are to tell. One that nothing leads to is a finding of its own.
func (r *run) beside(missed map[chunkfmt.Seq][]stretch) (map[chunkfmt.Seq][]chunkfmt.Seq, error) {
	beside := map[chunkfmt.Seq][]chunkfmt.Seq{}
	for _, seq := range sorted(missed) {
		if r.doubted.has(seq) {
			continue
		}
		led := false
		err := r.Index.Needs(seq, func(from chunkfmt.Seq) bool {
			if _, lost := r.lost[from]; lost && r.doubted.has(from) {
				beside[from] = append(beside[from], seq)
				led = true
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		if !led {
			r.result.Findings++
			r.found = append(r.found, scrub.Finding{
				Volume: r.ID.String(), What: scrub.Missing, Kind: chunkfmt.KindData, Seqs: []scrub.Range{{First: seq, Last: seq}},
				Object: media.VolumePrefix(r.ID), Cause: cmp.Or(r.suspects[seq], "it was moved to groups that are damaged"),
			})
		}
	}
	return beside, nil
}

// causes finds the finding that is about a number.
type causes struct {
	all        []cause
	found      []scrub.Finding
	unreadable bool // the medium gave an error for some of what it holds
}

type cause struct {
	scrub.Range
	finding int
}

func newCauses(found []scrub.Finding) *causes {
	c := &causes{found: found}
	for i, f := range found {
		c.unreadable = c.unreadable || f.What == scrub.Unreadable
		for _, s := range f.Seqs {
			c.all = append(c.all, cause{s, i})
		}
	}
	slices.SortFunc(c.all, func(a, b cause) int { return cmp.Compare(a.First, b.First) })
	return c
}

func (c *causes) of(seq chunkfmt.Seq) string {
	i, found := slices.BinarySearchFunc(c.all, seq, func(a cause, seq chunkfmt.Seq) int { return cmp.Compare(a.First, seq) })
	if !found {
		i--
	}
	if i < 0 || c.all[i].Last < seq {
		return "damaged"
	}
	return c.found[c.all[i].finding].String()
}
