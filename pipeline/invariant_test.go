package pipeline

import (
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// inBubble carries out a plan in virtual time, where a deadlock shows at once.
func inBubble(t *testing.T, pl plan, alter func(*Pipe)) (err error) {
	synctest.Test(t, func(t *testing.T) { err = execute(t.Context(), pl, alter) })
	return err
}

func drawPlan(t *rapid.T) plan {
	pl := plan{
		Seed:     rapid.Uint64().Draw(t, "seed"),
		Messages: rapid.IntRange(0, 40).Draw(t, "messages"),
		Outside:  rapid.SampledFrom([]int{0, 0, 1, 7}).Draw(t, "outside"),
	}
	n := rapid.IntRange(1, 6).Draw(t, "stages")
	allocators := 0
	for i := range n {
		sp := stagePlan{
			Instances: rapid.IntRange(1, 4).Draw(t, "instances"),
			Allocates: i == 0 || rapid.Bool().Draw(t, "allocates"),
			Early:     rapid.Bool().Draw(t, "early"),
			Slow:      rapid.SampledFrom([]int{0, 2, 50}).Draw(t, "slow"),
		}
		if i > 0 && i < n-1 {
			sp.Ordered = rapid.Bool().Draw(t, "ordered")
		}
		if sp.Allocates {
			allocators++
		}
		pl.Stages = append(pl.Stages, sp)
	}
	pl.Buffers = allocators + rapid.IntRange(0, 3*allocators).Draw(t, "more buffers")
	if rapid.Bool().Draw(t, "troubled") {
		pl.Trouble = kind(rapid.IntRange(1, int(kinds)-1).Draw(t, "trouble"))
		pl.At = rapid.IntRange(0, n-1).Draw(t, "at")
		pl.After = rapid.IntRange(0, 30).Draw(t, "after")
		if (pl.Trouble == panics || pl.Trouble == exits) && pl.At == 0 {
			pl.Outside = 0 // goroutines from outside end at their own cost
		}
	}
	return pl
}

// TestConservation is the invariant: whatever the pipe, and whatever happens to it, no message is
// lost, doubled or out of order, no share is exceeded, nothing waits for ever, and every buffer is
// free at the end.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pl := drawPlan(rt)
		if err := inBubble(t, pl, nil); err != nil {
			rt.Fatalf("%+v: %v", pl, err)
		}
	})
}

// TestCheckerCatches breaks the pipe in turn in each of the ways that the checker is there for.
func TestCheckerCatches(t *testing.T) {
	head := stagePlan{Instances: 1, Allocates: true}
	tail := stagePlan{Instances: 1, Slow: 50}
	ordered := stagePlan{Instances: 4, Ordered: true, Slow: 50}
	for _, test := range []struct {
		name  string
		plan  plan
		alter func(*Pipe)
		want  string
	}{
		{
			name:  "share without limit",
			plan:  simple(8, 40, head, stagePlan{Instances: 1, Allocates: true}, tail),
			alter: func(p *Pipe) { p.pool.allocators[0].share = 8 },
			want:  "share exceeded",
		},
		{
			name: "no resequencing",
			plan: simple(8, 40, head, ordered, tail),
			alter: func(p *Pipe) {
				k := p.stages[1].bracket
				k.window = 1 << 40
				k.exit.leave = nil
				k.exit = newQueue(p.stages[2], 8) // takes the skipped numbers
				k.exit.leave = newBracket(newQueue(p.stages[1], 8), k.exit, 1<<10)
			},
			want: "order:",
		},
		{
			name: "no window",
			plan: simple(4, 400, head,
				stagePlan{Instances: 4, Ordered: true, Slow: 5000, Only: pass},
				stagePlan{Instances: 2, Ordered: true, Allocates: true, Early: true, Only: replace}, tail),
			alter: func(p *Pipe) {
				k := p.stages[1].bracket
				k.window, k.pending = 1<<10, make([]settled, 1<<10)
			},
			want: "deadlock",
		},
		{
			name:  "a lost buffer",
			plan:  simple(8, 40, head, tail),
			alter: func(p *Pipe) { p.pool.free = p.pool.free[1:] },
			want:  "not conserved",
		},
		{
			name:  "a buffer that is free twice",
			plan:  simple(8, 40, head, tail),
			alter: func(p *Pipe) { p.pool.free[0] = p.pool.free[1] },
			want:  "not conserved",
		},
		{
			name:  "messages lost",
			plan:  simple(8, 40, head, tail),
			alter: func(p *Pipe) { p.stages[1].spec.New = of(receives(frees)) },
			want:  "0 messages arrived",
		},
		{
			name:  "two buffers in one place",
			plan:  simple(8, 40, head, tail),
			alter: func(p *Pipe) { p.seg.stride = 0 },
			want:  "holds the bytes of",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := inBubble(t, test.plan, nil); err != nil {
				t.Fatalf("whole pipe: %v", err)
			}
			err := inBubble(t, test.plan, test.alter)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("broken pipe: got %.300v, want %q", err, test.want)
			}
		})
	}
}
