package walk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExcludes(t *testing.T) {
	for _, c := range []struct {
		patterns string
		path     string // a trailing slash: a directory
		want     bool
	}{
		{"", "a", false},
		{"*.o", "a.o", true},
		{"*.o", "d/a.o", true},
		{"*.o", "a.out", false},
		{"/a", "a", true},
		{"/a", "d/a", false},
		{"d/a", "d/a", true},
		{"d/a", "x/d/a", false},
		{"**/d/a", "x/y/d/a", true},
		{"cache/", "cache/", true},
		{"cache/", "x/cache/", true},
		{"cache/", "cache", false},
		{"*.o|!keep.o", "keep.o", false},
		{"*.o|!keep.o", "other.o", true},
		{"!keep.o|*.o", "keep.o", true},
		{"# *.o", "a.o", false},
		{"|  |a", "a", true},
		{`\#a`, "#a", true},
		{`\!a`, "!a", true},
		{"a b", "a b", true},
		{"[ab]?", "bz", true},
		{"[ab]?", "cz", false},
	} {
		file := filepath.Join(t.TempDir(), "patterns")
		must(t, os.WriteFile(file, []byte(strings.ReplaceAll(c.patterns, "|", "\r\n")), 0o644))
		list, err := newExcludes(strings.Split(c.patterns, "|"), nil)
		must(t, err)
		read, err := newExcludes(nil, []string{file})
		must(t, err)
		name, dir := strings.CutSuffix(c.path, "/")
		for how, x := range map[string]excludes{"list": list, "file": read} {
			if got := x.match(strings.Split(name, "/"), dir); got != c.want {
				t.Errorf("%q as a %s leaves %s out: %v, want %v", c.patterns, how, c.path, got, c.want)
			}
		}
	}
	if _, err := newExcludes(nil, []string{"/no/such/file"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file of patterns: %v", err)
	}
}

// TestPutExcludes: patterns count from the source directory, an excluded directory is not entered, and what came to
// be excluded goes when the volume is to mirror the source.
func TestPutExcludes(t *testing.T) {
	r := newRig(t)
	r.write("a 1", "a.o 2", "d/b.o 3", "d/c 4", "cache/x 5", "d/a 6")
	r.put(Options{Exclude: []string{"*.o", "/a", "cache/", "!b.o"}})
	if got, want := r.names("t"), "d d/a d/b.o d/c"; got != want {
		t.Errorf("have %s, want %s", got, want)
	}
	r.put(Options{})
	r.same("t")
	r.put(Options{Exclude: []string{"cache/", "d/*"}, Delete: true})
	if got, want := r.names("t"), "a a.o d"; got != want {
		t.Errorf("mirrored, have %s, want %s", got, want)
	}
	r.put(Options{Sources: []string{r.src}, Target: "named", Exclude: []string{"/a", "d"}})
	if got, want := r.names("named"), "src src/a.o src/cache src/cache/x"; got != want {
		t.Errorf("under its name, have %s, want %s", got, want)
	}
}
