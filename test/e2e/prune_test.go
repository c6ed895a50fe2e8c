package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coffer/test/compare"
	"coffer/test/rig"
)

// orchard is a volume whose tree changes at random, and what its archives are to be.
type orchard struct {
	place
	t     *testing.T
	rng   *rand.Rand
	g     *gardener
	n     int
	saved map[string]compare.Tree // of the archives that are kept, by label
}

func newOrchard(t *testing.T) *orchard {
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	o := &orchard{place: newPlace(t), t: t, rng: rand.New(rand.NewPCG(seed, 0)), saved: map[string]compare.Tree{}}
	m := o.mount()
	o.g = &gardener{t: t, rng: o.rng, dir: m.Path("tree")}
	rig.Must(t, os.Mkdir(o.g.dir, 0o755))
	m.Unmount(t)
	return o
}

func (o *orchard) mount(flags ...string) *rig.Mount {
	o.t.Helper()
	m := o.place.mount(o.t, append(flags, "--checkpoint-after", "8KiB")...)
	m.Watch(o.t, 15*time.Minute)
	return m
}

// grow changes the tree of a mount and seals an archive of it.
func (o *orchard) grow() {
	o.t.Helper()
	for range 25 {
		o.g.change()
	}
	o.n++
	o.litter()
	label := fmt.Sprintf("state-%d", o.n)
	o.saved[label] = rig.ReadTree(o.t, o.g.dir)
	o.Run(o.t, "snapshot", o.mnt, "-m", label)
}

// litter stores small files, which share a group, and leaves a few of them, until some litter later.
func (o *orchard) litter() {
	o.t.Helper()
	old, err := filepath.Glob(filepath.Join(o.g.dir, "litter-*"))
	rig.Must(o.t, err)
	for _, dir := range old[:max(0, len(old)-5)] {
		rig.Must(o.t, os.RemoveAll(dir))
	}
	dir := filepath.Join(o.g.dir, fmt.Sprintf("litter-%d", o.n))
	rig.Must(o.t, os.Mkdir(dir, 0o755))
	name := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	rng := rand.NewChaCha8([32]byte{1, byte(o.n), byte(o.n >> 8)})
	o.Run(o.t, "sync", o.mnt) // so that nothing else is in their group
	for i := range 40 {
		b := make([]byte, 2000+i)
		rng.Read(b)
		rig.Must(o.t, os.WriteFile(name(i), b, 0o644))
	}
	o.Run(o.t, "sync", o.mnt)
	for i := range 40 {
		if i%13 != 0 {
			rig.Must(o.t, os.Remove(name(i)))
		}
	}
}

// check compares all archives that are kept, and wants no others.
func (o *orchard) check(m *rig.Mount, when string) {
	o.t.Helper()
	for label, want := range o.saved {
		rig.Same(o.t, when+", "+label, want, rig.ReadTree(o.t, m.Path(".snapshots", label, "tree")))
	}
	var labels []string
	for _, a := range o.archives(o.mnt) {
		if a.Label != "" {
			labels = append(labels, a.Label)
		}
	}
	slices.Sort(labels)
	if want := slices.Sorted(maps.Keys(o.saved)); !slices.Equal(labels, want) {
		o.t.Errorf("%s: archives %v, want %v", when, labels, want)
	}
}

type archive struct{ Name, Label string }

func (o *orchard) archives(where string) (all []archive) {
	o.t.Helper()
	o.json(&all, "snapshots", where, "--json")
	return all
}

func (o *orchard) json(into any, args ...string) {
	o.t.Helper()
	rig.Must(o.t, json.Unmarshal([]byte(o.Run(o.t, args...)), into))
}

// forgotten is what forget answers.
type forgotten struct {
	Forgotten []archive
	Kept      int
	Prune     struct{ Bytes int64 }
}

func (o *orchard) forget(args ...string) forgotten {
	o.t.Helper()
	var f forgotten
	o.json(&f, append([]string{"forget", "--json"}, args...)...)
	if !slices.Contains(args, "--dry-run") {
		for _, a := range f.Forgotten {
			delete(o.saved, a.Label)
		}
	}
	return f
}

// ballast stores what no archive has.
func (o *orchard) ballast(m *rig.Mount) {
	o.t.Helper()
	b := make([]byte, 4<<20)
	o.n++
	rand.NewChaCha8([32]byte{byte(o.n), byte(o.n >> 8)}).Read(b)
	rig.Must(o.t, os.WriteFile(m.Path("ballast"), b, 0o644))
	m.Sync(o.t)
	rig.Must(o.t, os.Remove(m.Path("ballast")))
}

// killedPrune begins a prune, of the store or of a mount, and kills the process that does it: at some time, as it has
// begun to store what it moves, or as it has begun to write a chunk anew.
func (o *orchard) killedPrune(mounted bool) {
	o.t.Helper()
	var m *rig.Mount
	where := o.store
	if mounted {
		m = o.mount()
		where = o.mnt
		o.grow()
	}
	before, stored := o.anew(), o.stored()
	cmd := o.Coffer("prune", where)
	rig.Must(o.t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // its end says nothing
	}()
	await := func(begun func() bool) {
		for !begun() {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond / 4): // nobody tells of it
			}
		}
	}
	after := time.Duration(o.rng.IntN(3000)) * time.Microsecond
	switch o.rng.IntN(4) {
	case 0:
		after = time.Duration(o.rng.IntN(600)) * time.Millisecond
	case 1:
		await(func() bool { return o.stored() > stored })
		after *= 10
	default:
		await(func() bool { return o.anew() != before })
	}
	select {
	case <-ended:
	case <-time.After(after):
	}
	if mounted {
		m.Kill()
	} else {
		cmd.Process.Kill()
	}
	<-ended
}

// stored is the length of all chunks, also while some of them go.
func (o *orchard) stored() (sum int64) {
	o.t.Helper()
	for _, chunk := range rig.Chunks(o.t, o.store) {
		if info, err := os.Stat(chunk); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// anew is how many chunks of the store were, or are being, written anew.
func (o *orchard) anew() int { return chunksAnew(o.t, o.store) }

func chunksAnew(t *testing.T, store string) int {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(store, "volumes", "*", "*.chunk.*"))
	rig.Must(t, err)
	return len(paths)
}

// TestPrune changes a tree over a number of archives (COFFER_ARCHIVES), forgets most of them by rules and one by one,
// prunes, and is killed while it does (COFFER_PRUNE_KILLS). All archives that are kept are as they were, each time, and
// in the end also after index and catalog were made anew, from a checkpoint and from the log; no byte is damaged, and as much room came back as was said.
func TestPrune(t *testing.T) {
	o := newOrchard(t)
	for range (rig.Count(t, "COFFER_ARCHIVES", 4) + 1) / 2 {
		m := o.mount()
		for range 2 {
			o.grow()
		}
		o.ballast(m)
		m.Unmount(t)
	}
	rules := []string{o.store, "--keep-last", "3", "--keep-label", "state-1"}
	plan := o.forget(append(rules, "--dry-run")...)
	did := o.forget(rules...)
	if plan.Kept != did.Kept || !slices.Equal(plan.Forgotten, did.Forgotten) || len(o.saved) < 2 {
		t.Errorf("said %+v, did %+v, and kept %v", plan, did, slices.Sorted(maps.Keys(o.saved)))
	}
	for i := range rig.Count(t, "COFFER_PRUNE_KILLS", 3) {
		o.killedPrune(i%3 == 2)
		m := o.mount()
		o.check(m, fmt.Sprint("after kill ", i))
		o.grow()
		o.ballast(m)
		m.Unmount(t)
		labels := slices.Sorted(maps.Keys(o.saved))
		o.rng.Shuffle(len(labels), func(i, k int) { labels[i], labels[k] = labels[k], labels[i] })
		o.forget(append([]string{o.store}, labels[:max(1, len(labels)-6)]...)...)
	}
	before := rig.Stored(t, o.store)
	var said, done struct {
		Bytes int64
		Moved int `json:"moved_groups"`
	}
	o.json(&said, "prune", "--dry-run", "--json", o.store)
	o.json(&done, "prune", "--json", o.store)
	// The session that pruned takes some hundred bytes itself.
	if back := before - rig.Stored(t, o.store); said.Bytes < 4<<20 || back < said.Bytes*9/10-4096 || back > said.Bytes*11/10 {
		t.Errorf("%d bytes came back, %d were said, %d answered", back, said.Bytes, done.Bytes)
	}
	if said.Moved == 0 || done.Moved != said.Moved {
		t.Errorf("%d groups of which little is needed are moved, %d were said", done.Moved, said.Moved)
	}
	if again := o.Run(t, "prune", "--dry-run", o.store); !strings.Contains(again, " 0 B") {
		t.Errorf("after a prune: %s", again)
	}
	m := o.mount()
	o.check(m, "pruned")
	o.grow()
	m.Unmount(t)
	for _, flags := range [][]string{nil, {"--from-log"}} {
		o.DropIndex(t)
		rig.DropCatalogs(t, o.store)
		out := o.Run(t, append([]string{"rebuild", o.store}, flags...)...)
		if want := map[bool]string{true: "from a checkpoint", false: "from the log"}[flags == nil]; !strings.HasPrefix(out, want) {
			t.Errorf("rebuild %v says %q", flags, out)
		}
		m = o.mount()
		o.check(m, "index rebuilt "+fmt.Sprint(flags))
		m.Unmount(t)
	}
	o.Run(t, "scrub", o.store)
	o.Run(t, "check", "--read-data", o.store)
}

// TestPolicy: the rules of a volume are applied as archives are sealed, in a mount and at its end.
func TestPolicy(t *testing.T) {
	o := newOrchard(t)
	o.Run(t, "forget", o.store, "--policy", "set", "--keep-last", "2")
	m := o.mount()
	for range 4 {
		o.grow()
	}
	want := []string{"state-3", "state-4"}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var labels []string
		for _, a := range o.archives(o.mnt) {
			labels = append(labels, a.Label)
		}
		if slices.Equal(labels, want) { // nobody waits for the rules to be applied
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("archives %v, want %v", labels, want)
		}
	}
	for _, label := range []string{"state-1", "state-2"} {
		delete(o.saved, label)
		if _, err := os.Stat(m.Path(".snapshots", label)); !os.IsNotExist(err) {
			t.Errorf("%s is still to be seen: %v", label, err)
		}
	}
	o.check(m, "by the policy")
	rig.Must(t, os.WriteFile(m.Path("tree", "last"), []byte("change"), 0o644))
	m.Unmount(t)
	if n := len(o.archives(o.store)); n != 2 {
		t.Errorf("%d archives after the end, want 2", n)
	}
	o.Run(t, "forget", o.store, "--policy", "none")
	if said := o.Run(t, "forget", o.store, "--policy", "show"); !strings.Contains(said, "no policy") {
		t.Errorf("after the end of the policy: %s", said)
	}
	for _, args := range [][]string{
		{}, {"--keep-label", "nobody has it"}, {"no such archive"}, {"--policy", "sometimes"}, {"--policy", "set"},
		{"--keep-last", "-1"}, {"--keep-within", "soon"}, {"state-4", "--keep-last", "1"},
	} {
		if code, _, _ := o.Try(t, append([]string{"forget", o.store}, args...)...); code != 2 {
			t.Errorf("forget %q ends with %d", args, code)
		}
	}
}

// TestPruneServer: a server without a key gives back what its clients prune, also if it is killed while it does; what a
// client prunes that may only append, when it is approved of. What is kept is as it was, on the server and read from it.
func TestPruneServer(t *testing.T) {
	source := filepath.Join(goRoot(t), "src", "net", "http")
	for _, appendOnly := range []bool{false, true} {
		dir := t.TempDir()
		server := rig.NewUser(t, filepath.Join(dir, "host")).Serve(t, filepath.Join(dir, "store"), "--grace", "0s")
		laptop := rig.NewUser(t, filepath.Join(dir, "laptop"))
		addr := "coffer://" + server.Address
		flags := []string{}
		if appendOnly {
			flags = append(flags, "--append-only")
		}
		m := laptop.Mount(t, server.Invite(t, "laptop", server.Address, flags...), filepath.Join(dir, "mnt"))
		m.Watch(t, 15*time.Minute)
		rig.CopyTree(t, source, m.Path("tree"))
		for i := range 3 {
			b := make([]byte, 4<<20)
			rand.NewChaCha8([32]byte{byte(i)}).Read(b)
			rig.Must(t, os.WriteFile(m.Path("ballast"), b, 0o644))
			m.Sync(t)
		}
		rig.Must(t, os.Remove(m.Path("ballast")))
		m.Unmount(t)
		var said struct{ Bytes int64 }
		rig.Must(t, json.Unmarshal([]byte(laptop.Run(t, "prune", "--dry-run", "--json", addr)), &said))
		before := rig.Stored(t, server.Store)

		pruned := make(chan error, 1)
		go func() {
			out, err := laptop.Coffer("prune", addr).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("prune: %w\n%s", err, out)
			}
			pruned <- err
		}()
		if appendOnly {
			rig.Must(t, <-pruned)
			if n := chunksAnew(t, server.Store); n > 0 {
				t.Errorf("%d chunks were written anew and nobody has approved of it", n)
			}
			server.Approve(t, "laptop")
		}
		deadline := time.Now().Add(2 * time.Minute)
		for chunksAnew(t, server.Store) == 0 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond / 4) // nobody tells of it
		}
		server.Kill()
		rig.Must(t, server.Start())
		if !appendOnly {
			rig.Must(t, <-pruned)
		}
		back := int64(0)
		for back < said.Bytes*9/10-4096 && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
			back = before - rig.Stored(t, server.Store)
		}
		if said.Bytes < 12<<20 || back < said.Bytes*9/10-4096 || back > said.Bytes*11/10 {
			t.Errorf("append-only %v: %d bytes came back, %d were said", appendOnly, back, said.Bytes)
		}
		m = laptop.Mount(t, addr, filepath.Join(dir, "mnt"))
		rig.Same(t, "pruned", rig.ReadTree(t, source), rig.ReadTree(t, m.Path("tree")))
		m.Unmount(t)
		if code, out, errs := server.Scrub(t); code != 0 {
			t.Errorf("scrub: exit code %d\n%s%s", code, out, errs)
		}
	}
}
