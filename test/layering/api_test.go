package layering

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// handled finds what a handler is registered for: a method, and a path of literals and constants.
var handled = regexp.MustCompile(`\.HandleFunc\("(GET|POST|PUT|DELETE) ([^,]*),`)

// TestAPIIsDocumented wants a line in docs/api.md for each request that is answered.
func TestAPIIsDocumented(t *testing.T) {
	root := filepath.Join("..", "..")
	doc, err := os.ReadFile(filepath.Join(root, "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		below := ""
		if strings.Contains(path, filepath.Join("media", "remote")) {
			below = "/v1/volumes/{volume}" // that is where the mover has it
		}
		for _, m := range handled.FindAllStringSubmatch(string(source), -1) {
			n++
			request := strings.NewReplacer(`"`, "", "+", "", "agent.Pipes", "/v1/pipes").Replace(m[2])
			if request = m[1] + " " + below + request; !strings.Contains(string(doc), "`"+request) {
				t.Errorf("%s answers %s, of which docs/api.md says nothing", path, request)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 15 {
		t.Errorf("%d requests were found in the source: is it looked for as it is written?", n)
	}
}
