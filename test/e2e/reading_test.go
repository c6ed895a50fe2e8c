package e2e

import (
	"os"
	"strings"
	"testing"

	"coffer/test/rig"
)

// TestReadingWithoutAMount lists, prints, searches and compares archives with and without a mount.
func TestReadingWithoutAMount(t *testing.T) {
	p := newPlace(t)
	m := p.mount(t)
	rig.Must(t, os.MkdirAll(m.Path("d", "sub"), 0o755),
		os.WriteFile(m.Path("d", "kept"), []byte("the same"), 0o644),
		os.WriteFile(m.Path("d", "changed"), []byte("first"), 0o644),
		os.WriteFile(m.Path("d", "moved"), []byte("goes elsewhere"), 0o644),
		os.WriteFile(m.Path("d", "sub", "gone"), []byte("deleted later"), 0o644))
	p.Run(t, "snapshot", p.mnt, "-m", "one")
	rig.Must(t, os.WriteFile(m.Path("d", "changed"), []byte("second, and longer"), 0o644),
		os.Rename(m.Path("d", "moved"), m.Path("d", "sub", "arrived")),
		os.Remove(m.Path("d", "sub", "gone")),
		os.WriteFile(m.Path("d", "new"), []byte("new"), 0o644))
	p.Run(t, "snapshot", p.mnt, "-m", "two")

	check := func(when string) {
		t.Helper()
		wants := func(want []string, not []string, args ...string) {
			t.Helper()
			out := p.Run(t, args...)
			for _, w := range want {
				if !strings.Contains(out, w) {
					t.Errorf("%s: coffer %q does not say %q:\n%s", when, args, w, out)
				}
			}
			for _, w := range not {
				if strings.Contains(out, w) {
					t.Errorf("%s: coffer %q says %q:\n%s", when, args, w, out)
				}
			}
		}
		d := p.store + ":/d"
		wants([]string{"changed", "kept", "moved", "sub"}, []string{"new"}, "ls", d, "--at", "one")
		wants([]string{"changed", "kept", "new", "sub"}, []string{"moved"}, "ls", d)
		wants([]string{"first"}, []string{"second"}, "cat", d+"/changed", "--at", "one")
		wants([]string{"second, and longer"}, nil, "cat", d+"/changed", "--at", "two")
		wants([]string{"deleted later"}, nil, "cat", d+"/sub/gone", "--at", "one")
		wants([]string{"/d/sub/gone"}, []string{"arrived"}, "find", p.store, "--at", "one")
		wants([]string{"/d/sub/arrived"}, []string{"gone"}, "find", p.store)
		wants([]string{"/d/changed", "/d/moved -> /d/sub/arrived", "/d/new", "/d/sub/gone"}, []string{"kept"},
			"diff", p.store, "one", "two")
		wants([]string{"moved", "arrived"}, nil, "history", d+"/sub/arrived")
		wants([]string{"gone"}, nil, "history", d+"/sub/gone")
		if code, _, stderr := p.Try(t, "cat", d+"/moved"); code != 28 {
			t.Errorf("%s: a file that is not there: exit code %d, %s", when, code, stderr)
		}
	}
	check("mounted")
	m.Unmount(t)
	check("not mounted")
}
