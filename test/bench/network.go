package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// limited are links on which one connection is enough: the question is how near to the rate a writer comes.
var limited = []link{
	{name: "1 MB/s", rate: 1e6},
	{name: "5 MB/s", rate: 5e6},
	{name: "50 MB/s", rate: 50e6},
	{name: "50 MB/s, 50 ms", rate: 50e6, trip: 50 * time.Millisecond, window: 4 << 20},
	{name: "50 MB/s, 50 ms, resets", rate: 50e6, trip: 50 * time.Millisecond, window: 4 << 20, reset: 5 * time.Second},
}

// delayed are links on which one connection is not enough.
var delayed = []link{
	{name: "50 ms", trip: 50 * time.Millisecond, window: 256 << 10},
	{name: "200 ms", trip: 200 * time.Millisecond, window: 256 << 10},
	{name: "200 ms, resets", trip: 200 * time.Millisecond, window: 256 << 10, reset: 5 * time.Second},
}

// linkSeconds is for how long about a link is filled.
const linkSeconds = 12

// benchNetwork prints what it costs that the store is on a server: without a limit, over slow links, over long ones.
func benchNetwork(o options, sources []work) error {
	if err := benchNear(o, sources); err != nil {
		return err
	}
	if o.only.MatchString("network/bare") {
		if err := benchBare(); err != nil {
			return err
		}
	}
	if o.only.MatchString("network/links") {
		if err := benchLinks(o, limited); err != nil {
			return err
		}
		if err := benchCompressible(o, sources); err != nil {
			return err
		}
	}
	if o.only.MatchString("network/delays") {
		if err := benchLinks(o, delayed); err != nil {
			return err
		}
	}
	return benchRestore(o, sources)
}

// ways are how a tree gets to where the store is and back.
var ways = []way{
	{"here", "coffer, here", func(o options, w *work, _ *link) (measurement, error) {
		return measure(o, *w, subjectNamed("coffer"))
	}},
	{"coffer", "coffer, a server", farMeasure},
	{"commands", "put and restore", there(cofferThere).measure},
	{"rsync", "rsync, a daemon", there(rsyncThere).measure},
	{"restic", "restic, sftp", there(resticThere).measure},
}

type way struct {
	key, name string
	do        func(o options, w *work, l *link) (measurement, error)
}

// waysOf are those of all that were asked for, for a tree below a name; none for trees that a network makes no other.
func (o *options) waysOf(name string, w *work, all []way) (asked []way) {
	for _, way := range all {
		if (w.name == "large" || w.name == "tree") && o.only.MatchString(name+"/"+w.name+"/"+way.key) {
			asked = append(asked, way)
		}
	}
	return asked
}

// benchNear compares a mount whose store is on a server behind the loopback device with one whose store is here.
func benchNear(o options, sources []work) error {
	for _, w := range sources {
		asked := o.waysOf("network/loopback", &w, ways)
		if len(asked) == 0 {
			continue
		}
		all := map[string]*row{}
		for _, way := range asked {
			all[way.key] = &row{subject: way.name}
		}
		for run := range o.runs {
			for _, way := range asked {
				fmt.Fprintf(os.Stderr, "run %d of %d: network, %s, %s\n", run+1, o.runs, w.name, way.name)
				m, err := way.do(o, &w, nil)
				if err != nil {
					return fmt.Errorf("network, %s, %s: %w", w.name, way.name, err)
				}
				all[way.key].all = append(all[way.key].all, m)
			}
		}
		fmt.Printf("\n%s, %.0f MB, over the loopback device, median of %d\n", w.name, float64(w.bytes)/1e6, o.runs)
		fmt.Printf("%-18s %9s %7s %9s %7s %8s\n", "", "write s", "× here", "read s", "× here", "RSS MiB")
		for _, way := range asked {
			r := all[way.key]
			fmt.Printf("%-18s %9.2f %7s %9.2f %7s %8s\n", way.name, r.median(write), ratio(all["here"], r, write),
				r.median(read), ratio(all["here"], r, read), number(r.median(memory), "%.0f"))
		}
	}
	return nil
}

// farMeasure has a mount store a tree on a server, and read it back by a mount that knows nothing of it in memory.
func farMeasure(o options, w *work, l *link) (m measurement, err error) {
	f, p, err := farMount(o, l)
	defer f.close()
	if err != nil {
		return m, err
	}
	defer p.end()
	if err := backMemory(w.bytes); err != nil {
		return m, err
	}
	start := time.Now()
	if err := first(w.store(p.mnt()+"/copy"), func() error { return p.run(p.coffer, "sync", p.mnt()) }); err != nil {
		return m, err
	}
	m.write = time.Since(start)
	if err := first(first(p.end(), p.mount), dropCaches); err != nil {
		return m, err
	}
	if err := backMemory(w.bytes); err != nil {
		return m, err
	}
	start = time.Now()
	if err := readAll(p.mnt() + "/copy"); err != nil {
		return m, err
	}
	m.read = time.Since(start)
	m.memory = p.place.peak.Load()
	return m, p.end()
}

// farMount makes a server, a link to it and a mount at the other end. The first is to be closed also after an error.
func farMount(o options, l *link, flags ...string) (*far, *farPlace, error) {
	dir := filepath.Join(o.dir, "far")
	f, err := connect(o, filepath.Join(dir, "server"), l)
	if err != nil {
		return f, nil, err
	}
	p, err := f.client(filepath.Join(dir, "client"), flags...)
	if err != nil {
		return f, nil, err
	}
	return f, p, p.mount()
}

// there is a way of another program to bring a tree to a server and back: it makes the server, and says how p does both.
type there func(f *far, p *place, w *work, l *link) (write, read func() error, err error)

// measure measures it.
func (begin there) measure(o options, w *work, l *link) (m measurement, err error) {
	f, err := connect(o, filepath.Join(o.dir, "far", "server"), l)
	defer f.close()
	if err != nil {
		return m, err
	}
	p := &place{options: o, dir: filepath.Join(o.dir, "far", "client"), host: f.hosts[1]}
	defer os.RemoveAll(p.dir)
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return m, err
	}
	write, read, err := begin(f, p, w, l)
	if err != nil {
		return m, err
	}
	if err := backMemory(w.bytes); err != nil {
		return m, err
	}
	start := time.Now()
	if err := write(); err != nil {
		return m, err
	}
	m.write = time.Since(start)
	if err := first(dropCaches(), func() error { return backMemory(w.bytes) }); err != nil {
		return m, err
	}
	start = time.Now()
	if err := read(); err != nil {
		return m, err
	}
	m.read = time.Since(start)
	return m, nil
}

// cofferThere has coffer do it without a mount.
func cofferThere(f *far, p *place, w *work, _ *link) (write, read func() error, err error) {
	c, err := f.client(p.dir)
	if err != nil {
		return nil, nil, err
	}
	write = func() error { return c.run(p.coffer, "put", w.dir+"/", c.url) }
	read = func() error { return c.run(p.coffer, "restore", c.known, "--to", c.restored()) }
	return write, read, nil
}

// rsyncThere has rsync do it, with a daemon.
func rsyncThere(f *far, p *place, w *work, l *link) (write, read func() error, err error) {
	url, err := f.rsyncDaemon(l)
	write = func() error { return p.run("rsync", "-a", w.dir+"/", url+"/copy/") }
	read = func() error { return p.run("rsync", "-a", url+"/copy/", p.restored()+"/") }
	return write, read, err
}

// benchLinks prints how fast incompressible data goes over links, by one connection, by eight, and by as many as coffer
// chooses.
func benchLinks(o options, links []link) error {
	fmt.Printf("\nwriting over links, once each, until all is stable there\n")
	fmt.Printf("%-24s %12s %8s %7s %8s %11s %11s\n", "", "agents", "MB/s", "× link", "× one", "client MiB", "server MiB")
	for _, l := range links {
		var one float64
		for _, agents := range []int{1, 8, 0} {
			fmt.Fprintf(os.Stderr, "network: %s, %d agents\n", l.name, agents)
			got, err := fill(o, &l, agents)
			if err != nil {
				return fmt.Errorf("network, %s, %d agents: %w", l.name, agents, err)
			}
			of, ofLink, ofOne := fmt.Sprint(agents), "-", "-"
			if l.rate > 0 {
				ofLink = fmt.Sprintf("%.2f", got.rate/float64(l.rate))
			}
			if agents == 1 {
				one = got.rate
			} else {
				ofOne = fmt.Sprintf("%.2f", got.rate/one)
			}
			if agents == 0 {
				of = fmt.Sprintf("by itself, %d", got.agents)
			}
			fmt.Printf("%-24s %12s %8.2f %7s %8s %11.0f %11.0f\n", l.name, of, got.rate/1e6, ofLink, ofOne,
				float64(got.client)/(1<<20), float64(got.server)/(1<<20))
		}
	}
	return nil
}

// filled is what it was to fill a link.
type filled struct {
	rate           float64 // bytes a second that became stable
	agents         int     // in use in the end
	client, server int64   // peaks of memory, bytes
}

// fill writes for a while, by so many agents; 0: as many as are chosen.
func fill(o options, l *link, agents int) (got filled, err error) {
	f, p, err := farMount(o, l, "--agents", fmt.Sprint(agents))
	defer f.close()
	if err != nil {
		return got, err
	}
	defer p.end()
	perSecond := l.rate
	if perSecond == 0 {
		perSecond = int(float64(cmp.Or(agents, 8)*l.window) / l.trip.Seconds())
	}
	n := int64(perSecond) * linkSeconds
	start := time.Now()
	if err := writeNoise(filepath.Join(p.mnt(), "data"), noiseSource(1), n); err != nil {
		return got, err
	}
	if err := p.run(p.coffer, "sync", p.mnt()); err != nil {
		return got, err
	}
	got.rate = float64(n) / time.Since(start).Seconds()
	if got.agents, err = p.agents(); err != nil {
		return got, err
	}
	got.client, got.server = p.place.peak.Load(), f.peak()
	return got, p.end()
}

// benchCompressible prints how fast a tree of text goes over a link.
func benchCompressible(o options, sources []work) error {
	l := limited[1]
	for _, w := range sources {
		if w.name != "tree" {
			continue
		}
		fmt.Fprintf(os.Stderr, "network: %s, %s\n", l.name, w.name)
		m, err := farMeasure(o, &w, &l)
		if err != nil {
			return fmt.Errorf("network, %s, %s: %w", l.name, w.name, err)
		}
		fmt.Printf("\n%s over %s: written at %.2f MB/s, read at %.2f MB/s\n", w.name, l.name,
			float64(w.bytes)/1e6/m.write.Seconds(), float64(w.bytes)/1e6/m.read.Seconds())
	}
	return nil
}

// benchRestore prints how fast trees come back over a link with some delay.
func benchRestore(o options, sources []work) error {
	l := link{name: "50 MB/s, 20 ms", rate: 50e6, trip: 20 * time.Millisecond, window: 4 << 20}
	for _, w := range sources {
		asked := o.waysOf("network/restore", &w, ways[1:])
		if len(asked) > 0 {
			fmt.Printf("\n%s, %.0f MB, over %s, once each\n%-18s %11s %10s\n", w.name, float64(w.bytes)/1e6, l.name, "", "write MB/s", "read MB/s")
		}
		for _, way := range asked {
			fmt.Fprintf(os.Stderr, "network: %s, %s, %s\n", l.name, w.name, way.name)
			m, err := way.do(o, &w, &l)
			if err != nil {
				return fmt.Errorf("network, %s, %s, %s: %w", l.name, w.name, way.name, err)
			}
			fmt.Printf("%-18s %11.2f %10.2f\n", way.name, float64(w.bytes)/1e6/m.write.Seconds(), float64(w.bytes)/1e6/m.read.Seconds())
		}
	}
	return nil
}
