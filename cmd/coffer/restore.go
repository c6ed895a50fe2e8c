package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"coffer/cmd/coffer/progress"
	"coffer/fusefs/past"
	"coffer/fusefs/restore"
	"coffer/media/remote"
)

type restoreOptions struct {
	readOptions
	paths     []string
	to        string
	overwrite bool
	parallel  int
}

func newRestore() *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore STORE[:/PATH] [PATH…] --to DIR",
		Short: "Write what an archive holds into a directory, without a mount",
		Long: `Restore has DIR become what PATH was in an archive, or what it is now: every kind of file, with all its
attributes. With further PATHs, only these come, which are below the first, at their places in DIR.

Nothing that is in DIR already is replaced: what is the same by kind, size, times, mode, owner and attributes counts
as restored, so that a restore that was interrupted is run again and goes on. --overwrite replaces what differs.
What is damaged is named and left out, and the rest is restored.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.place(cmd, args[0])
			o.paths, o.notes = args[1:], cmd.ErrOrStderr()
			if o.to == "" {
				return fmt.Errorf("%w: --to says where to restore", errUsage)
			}
			return o.withReading(cmd.Context(), func(r *reading) error { return runRestore(cmd.Context(), &o, r) })
		},
	}
	flags := cmd.Flags()
	o.addReading(flags)
	o.cache = 16 << 20 // groups are read in order, and seldom twice
	flags.Lookup("cache").DefValue = o.cache.String()
	o.addAt(flags)
	flags.StringVar(&o.to, "to", "", "`directory` to restore into; made if it is missing")
	flags.BoolVar(&o.overwrite, "overwrite", false, "replace files that are there and differ")
	flags.IntVar(&o.parallel, "parallel", 0, "how many `files` are written at a time; 0: as suits the machine")
	flags.BoolVar(&o.json, "json", false, "print an event a line, for programs")
	return cmd
}

// restoreEvent is a line of restore --json: "progress" every second, "problem", and "result" at the end.
type restoreEvent struct {
	Event string `json:"event"`
	restore.Counts
	Total uint64 `json:"total_bytes,omitempty"` // absent while it is not known
	Path  string `json:"path,omitempty"`        // of a problem
	Error string `json:"error,omitempty"`
}

func runRestore(ctx context.Context, o *restoreOptions, r *reading) error {
	limitHeap(0)
	s, err := r.at(o.when)
	if err != nil {
		return err
	}
	part, err := s.Part(o.path, o.paths...)
	if err != nil {
		return notThere(err)
	}
	face := &restoreFace{o: o, part: part}
	run := restore.New(part, restore.Options{
		To: o.to, Overwrite: o.overwrite, Owner: os.Geteuid() == 0, Parallel: o.parallelFor(r),
		Away: remote.ErrAway, Tell: face.problem,
	})
	face.start(ctx, run)
	err = run.Do(ctx)
	face.end()
	if n := run.Counts().Problems; err == nil && n > 0 {
		return fmt.Errorf("%w: problems with %d names", errUnrestored, n)
	}
	return err
}

// parallelFor is how many files are written at a time: of a server, whose answers are on their way, more.
func (o *restoreOptions) parallelFor(r *reading) int {
	if o.parallel == 0 && r.opened.far != nil {
		return 32
	}
	return o.parallel
}

// restoreFace shows how a restore goes on.
type restoreFace struct {
	o       *restoreOptions
	part    *past.Part
	run     *restore.Run
	display *progress.Display
	count   func() // begins to find out how much there is to restore
	total   atomic.Uint64
	counter sync.WaitGroup
	stop    context.CancelFunc

	mu sync.Mutex // an event is printed at a time
}

func (f *restoreFace) start(ctx context.Context, run *restore.Run) {
	f.run = run
	ctx, f.stop = context.WithCancel(ctx)
	f.count = sync.OnceFunc(func() {
		f.counter.Go(func() {
			// Without it, it is not known how much is left; what is wrong there the run will tell.
			n, _ := restore.Size(ctx, f.part)
			f.total.Store(n)
		})
	})
	o := progress.Options{Out: f.o.notes}
	if f.o.json {
		o.Event = func() {
			f.count()
			f.event(restoreEvent{Event: "progress", Counts: run.Counts(), Total: f.total.Load()})
		}
	}
	if file, ok := f.o.notes.(*os.File); ok {
		width, _, err := term.GetSize(int(file.Fd()))
		o.Terminal = err == nil && width > 0
	}
	f.display = progress.Start(o, func() progress.Point {
		f.count()
		c := run.Counts()
		return progress.Point{Done: c.Bytes, Spare: c.Kept, Total: f.total.Load()}
	})
}

func (f *restoreFace) problem(p restore.Problem) {
	if f.o.json {
		f.event(restoreEvent{Event: "problem", Counts: f.run.Counts(), Path: p.Path, Error: p.Err.Error()})
		return
	}
	f.display.Say(printable(p.Error()))
}

func (f *restoreFace) end() {
	f.display.End()
	f.stop()
	f.counter.Wait()
	c := f.run.Counts()
	if f.o.json {
		f.event(restoreEvent{Event: "result", Counts: c})
		return
	}
	text := fmt.Sprintf("%d files restored (%s)", c.Files, humanize.IBytes(c.Bytes))
	if c.There > 0 {
		text += fmt.Sprintf(", %d were there", c.There)
	}
	fmt.Fprintln(f.o.notes, text)
}

func (f *restoreFace) event(e restoreEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	json.NewEncoder(f.o.out).Encode(e) // a reader who has gone away is not told
}
