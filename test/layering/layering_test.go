package layering

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "coffer"

// rule says what the packages that match may import of this module. The first rule that matches
// a package is the one that counts, so a child that may import more than its siblings stands first.
type rule struct {
	packages string // regular expression over the path inside the module
	imports  string // likewise; empty: nothing
}

// rules is the arrow diagram of the design. An arrow that is not here is a mistake in the
// importing package, not in this table: move the contract to where it is used instead.
var rules = []rule{
	{`chunkfmt`, ``},
	{`media`, `chunkfmt`},
	{`media/scrub`, `chunkfmt|media`},
	// A kind of medium knows the contract and the format, never another kind or whoever uses it.
	{`media/.*`, `chunkfmt|media|media/faulty`},
	// The pipe moves buffers and does not know what is in them.
	{`pipeline`, ``},
	{`pipeline/monitor`, `pipeline`},
	{`pipeline/channel(/.*)?`, `pipeline|pipeline/channel|chunkfmt`},
	{`pipeline/agent`, `pipeline|pipeline/stage|chunkfmt`},
	{`index`, `chunkfmt`},
	{`index/dedup`, `chunkfmt|index`},
	{`index/keep`, `chunkfmt`},
	{`pipeline/stage`, `pipeline|chunkfmt|index/dedup|media`},
	// The tree knows no FUSE, the face knows no pipe.
	{`fusefs/tree`, `index|pipeline|pipeline/stage|chunkfmt`},
	{`fusefs/walk`, `fusefs/tree|chunkfmt`},
	{`fusefs/device`, ``},
	// The past is read from the index and the log, without a live tree.
	{`fusefs/past`, `index|pipeline/stage|chunkfmt`},
	{`fusefs/history`, `fusefs/past|index|chunkfmt`},
	{`fusefs/(restore|dump)`, `fusefs/past|chunkfmt`},
	{`fusefs`, `fusefs/device|fusefs/past|fusefs/tree|index|chunkfmt`},
	// The background pipe of a spool: a volume's chunks on a medium near by, and the way to another machine.
	{`pipeline/forward`, `pipeline|pipeline/stage|pipeline/agent|media|media/spool|chunkfmt`},
	// A check compares what the medium holds with the index; it knows neither the log nor the pipe.
	{`pipeline/check`, `chunkfmt|index|media|media/scrub|pipeline/stage`},
	{`pipeline/check/repair`, `chunkfmt|index|media|pipeline/check`},
	{`pipeline/mover`, `chunkfmt|index(/.*)?|media(/.*)?|pipeline(/.*)?`},
	{`cmd/.*`, `.*`},
	{`test/.*`, `.*`},
}

type listed struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		i := slices.IndexFunc(rules, func(r rule) bool { return matches(r.packages, path) })
		if i < 0 {
			t.Errorf("%s has no rule: say in this table what it may import", path)
			continue
		}
		for _, imp := range p.Imports {
			inside, ok := strings.CutPrefix(imp, module+"/")
			if ok && !matches(rules[i].imports, inside) {
				t.Errorf("%s imports %s; it may import only %q", path, inside, rules[i].imports)
			}
		}
	}
}

// TestPackageComments wants more than one sentence: what the package is for is seldom enough
// without what it is not for, or where to start reading.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(strings.Fields(p.Doc)) < 5 {
			t.Errorf("%s has no package comment that says what it is for (it has %q)", p.ImportPath, p.Doc)
		}
	}
}

func matches(expr, path string) bool {
	return regexp.MustCompile(`^(` + expr + `)$`).MatchString(path)
}

// packages are those of the module as they are built, without their tests: tests may import anything.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Doc,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages: is the test run inside the module?", len(all))
	}
	return all
}
