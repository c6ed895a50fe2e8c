package crash

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"coffer/test/compare"
	"coffer/test/rig"
)

// TestModelIsATree runs programs on a plain directory: the model has to agree with what the kernel does.
func TestModelIsATree(t *testing.T) {
	for seed := range uint64(3) {
		r, _ := plain(t, seed, 1500)
		tree := read(t, r.tree.dir)
		if d := diff(r.program.m, tree, 0); len(d) > 0 {
			t.Errorf("seed %d: model and directory differ:\n%s", seed, compare.Summary(d))
		}
	}
}

// TestPrefix checks that the check passes states that are allowed and no other.
func TestPrefix(t *testing.T) {
	r, base := plain(t, 7, 400)
	tree := read(t, r.tree.dir)
	h := history{base: base, ops: r.ops, durable: 100}
	state, err := h.recovered(tree)
	if err != nil {
		t.Fatalf("the last state is not recognised: %v", err)
	}
	if d := diff(state, tree, 0); len(d) > 0 {
		t.Errorf("the state returned is another: %v", d)
	}

	h.ops = append(r.ops[:len(r.ops):len(r.ops)], op{Kind: opMkdir, Name: "later", Mode: 0o755})
	if _, err := h.recovered(tree); err != nil {
		t.Errorf("a state one before the last is not recognised: %v", err)
	}
	h.durable = len(h.ops)
	if _, err := h.recovered(tree); err == nil || !strings.Contains(err.Error(), "acknowledged was lost") {
		t.Errorf("a loss of what was acknowledged is not seen: %v", err)
	}

	h.durable = 0
	rig.Must(t, os.WriteFile(r.tree.dir+"/intruder", nil, 0o600))
	if _, err := h.recovered(read(t, r.tree.dir)); err == nil {
		t.Error("a name that no operation made is not seen")
	}
}

// plain runs a program on a directory of the machine's own file system.
func plain(t *testing.T, seed uint64, ops int) (*run, *model) {
	t.Helper()
	base := newModel()
	r := newRun(rand.New(rand.NewPCG(seed, 0)), base, 0, t.TempDir(), func() error { return nil })
	if err := r.issue(ops); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	r.end()
	return r, base
}

func read(t *testing.T, dir string) compare.Tree {
	t.Helper()
	tree, err := compare.Read(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
