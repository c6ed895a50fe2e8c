// Command bench measures coffer beside what one would use instead: a plain copy, a go-fuse loopback
// mount, restic and borg. It prints medians and ratios of one run on one machine, which is all that
// such figures are good for: compare ratios, never seconds of two machines. It is no test and fails
// only if something does not work.
//
// Everything is in a memory file system, so that programs are compared and not disks. What is written
// counts as written when the program says that it is stable, `coffer sync` included. Reads are
// made after a fresh mount with the kernel's caches dropped.
//
// Start at main; work.go, metadata.go, rebuild.go, history.go and network.go have what is measured, subjects.go by whom it
// is done, link.go over what; relay.go and sftp.go are what a link may need.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

type options struct {
	coffer     string
	dir        string
	runs       int
	mib        int
	small      int
	overwrites int
	many       int
	tree       string
	only       *regexp.Regexp
	flags      []string // more for coffer mount and put
}

func main() {
	var o options
	var only, flags string
	serve := flag.String("loopback", "", "serve a loopback of this directory on the argument and do nothing else")
	target := flag.String("relay", "", "pass connections at the argument on to this `address` and do nothing else")
	trip := flag.Duration("trip", 0, "with -relay: how long the way there and back is")
	window := flag.Int("window", 4<<20, "with -relay: `bytes` that a connection has on its way at most")
	reset := flag.Duration("reset", 0, "with -relay: so often a connection breaks; 0: never")
	program := flag.String("answer", "", "run this `program` for each connection at the argument and do nothing else")
	address := flag.String("dial", "", "pass standard input and output on to this `address` and do nothing else")
	passthrough := flag.Bool("passthrough", false, "with -loopback: let the kernel go past the server")
	flag.StringVar(&o.coffer, "coffer", "", "the coffer `binary`; built from here by default")
	flag.StringVar(&o.dir, "dir", "/dev/shm", "a memory `file system` with room for about five times the data")
	flag.IntVar(&o.runs, "runs", 5, "runs, of which the median counts")
	flag.IntVar(&o.mib, "mib", 2048, "`MiB` of incompressible data")
	flag.IntVar(&o.small, "small", 20_000, "small `files` of 4 KiB")
	flag.IntVar(&o.overwrites, "overwrites", 1_000_000, "`pages` of a file that are overwritten at random")
	flag.IntVar(&o.many, "many", 200_000, "`files` of which the index is made anew, 130,000 at least; 1,000,000 take some 6 GiB")
	flag.StringVar(&o.tree, "tree", "", "the `tree` to store; that of the Go distribution by default")
	flag.StringVar(&only, "only", "", "only rows `work/subject` that match")
	flag.StringVar(&flags, "flags", "", "more `flags` for coffer mount and put")
	flag.Parse()
	var err error
	if *serve != "" {
		err = loopback(*serve, flag.Arg(0), *passthrough)
	} else if *target != "" {
		err = relay(flag.Arg(0), *target, *trip, *window, *reset)
	} else if *program != "" {
		err = answer(*program, flag.Arg(0))
	} else if *address != "" {
		err = dial(*address)
	} else if o.only, err = regexp.Compile(only); err == nil {
		o.flags = strings.Fields(flags)
		err = bench(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(o options) error {
	var err error
	if o.tree == "" {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return fmt.Errorf("where is the Go distribution: %w", err)
		}
		o.tree = strings.TrimSpace(string(out))
	}
	if o.dir, err = os.MkdirTemp(o.dir, "coffer-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if o.coffer, err = binary(o); err != nil {
		return err
	}
	sources, err := makeSources(o)
	if err != nil {
		return err
	}
	var rows []*row
	for run := range o.runs {
		for _, w := range sources {
			for _, s := range subjects {
				if !o.only.MatchString(w.name+"/"+s.name) || w.tar != "" && s.remount == nil {
					continue
				}
				fmt.Fprintf(os.Stderr, "run %d of %d: %s, %s\n", run+1, o.runs, w.name, s.name)
				m, err := measure(o, w, s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", w.name, s.name, err)
				}
				rows = record(rows, w, s, m)
			}
		}
	}
	print(rows, sources)
	if err := benchMetadata(o); err != nil {
		return err
	}
	if err := benchScattered(o); err != nil {
		return err
	}
	if err := benchRebuild(o); err != nil {
		return err
	}
	if err := benchHistory(o); err != nil {
		return err
	}
	return benchNetwork(o, sources)
}

// binary is the coffer that was named, or else one of the code as it is now: what an earlier build left lying about
// tells nothing of it.
func binary(o options) (string, error) {
	if o.coffer != "" {
		return filepath.Abs(o.coffer)
	}
	path := filepath.Join(o.dir, "coffer")
	if out, err := exec.Command("go", "build", "-o", path, "./cmd/coffer").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build coffer: %w: %s", err, out)
	}
	return path, nil
}

// row gathers the measurements of one piece of work by one subject.
type row struct {
	work    work
	subject string
	all     []measurement
}

func record(rows []*row, w work, s subject, m measurement) []*row {
	i := slices.IndexFunc(rows, func(r *row) bool { return r.work.name == w.name && r.subject == s.name })
	if i < 0 {
		i = len(rows)
		rows = append(rows, &row{work: w, subject: s.name})
	}
	rows[i].all = append(rows[i].all, m)
	return rows
}

func (r *row) median(of func(measurement) float64) float64 {
	var all []float64
	for _, m := range r.all {
		all = append(all, of(m))
	}
	return median(all)
}

// median is the middle one of values, which it sorts; 0 if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func write(m measurement) float64   { return m.write.Seconds() }
func read(m measurement) float64    { return m.read.Seconds() }
func stored(m measurement) float64  { return float64(m.stored) / 1e6 }
func memory(m measurement) float64  { return float64(m.memory) / (1 << 20) }
func back(m measurement) float64    { return m.restore.Seconds() }
func backMem(m measurement) float64 { return float64(m.restoreMemory) / (1 << 20) }

// print makes one table a piece of work. "× loopback" is how much faster than the loopback: more is better.
func print(rows []*row, sources []work) {
	for _, w := range sources {
		var loop *row
		var of []*row
		for _, r := range rows {
			if r.work.name == w.name {
				of = append(of, r)
				if r.subject == "loopback" {
					loop = r
				}
			}
		}
		if len(of) == 0 {
			continue
		}
		fmt.Printf("\n%s, %.0f MB in %d files, median of %d\n", w.name, float64(w.bytes)/1e6, w.files, len(of[0].all))
		fmt.Printf("%-12s %9s %9s %11s %9s %11s %10s %8s %9s %8s\n", "", "write s", "MB/s", "× loopback", "read s", "× loopback",
			"stored MB", "RSS MiB", "restore s", "RSS MiB")
		for _, r := range of {
			fmt.Printf("%-12s %9.2f %9.0f %11s %9s %11s %10.1f %8s %9s %8s\n", r.subject,
				r.median(write), float64(w.bytes)/1e6/r.median(write), ratio(loop, r, write),
				number(r.median(read), "%.2f"), ratio(loop, r, read), r.median(stored), number(r.median(memory), "%.0f"),
				number(r.median(back), "%.2f"), number(r.median(backMem), "%.0f"))
		}
	}
}

func ratio(base, r *row, of func(measurement) float64) string {
	if base == nil || base.median(of) == 0 || r.median(of) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", base.median(of)/r.median(of))
}

func number(v float64, format string) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

// measurement is one run; zero where a subject has no such thing.
type measurement struct {
	write, read time.Duration
	stored      int64 // bytes
	memory      int64 // peak of RssAnon + RssShmem of the process, bytes

	restore       time.Duration // of all of it into a directory, by a program that has just been started
	restoreMemory int64         // the peak of that one, as memory, bytes
}
