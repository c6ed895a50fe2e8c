package walk

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// excludes decides which names of a source are left out. The zero value leaves none.
type excludes struct {
	patterns []gitignore.Pattern
}

func newExcludes(patterns, files []string) (excludes, error) {
	var x excludes
	for _, name := range files {
		if err := x.read(name); err != nil {
			return excludes{}, fmt.Errorf("read exclude patterns: %w", err)
		}
	}
	for _, p := range patterns {
		x.add(p)
	}
	return x, nil
}

func (x *excludes) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		x.add(strings.TrimSuffix(lines.Text(), "\r"))
	}
	return lines.Err()
}

// add takes one line; blank ones and comments say nothing.
func (x *excludes) add(line string) {
	if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
		return
	}
	x.patterns = append(x.patterns, gitignore.ParsePattern(line, nil))
}

// any says whether there is a reason to ask: building the path costs more than most matches.
func (x *excludes) any() bool { return len(x.patterns) > 0 }

// match says whether the name, as a path from the source directory down, is left out. As with git, nothing
// below an excluded directory can be taken in again, since the walk doesn't enter it.
func (x *excludes) match(path []string, dir bool) bool {
	for i := len(x.patterns) - 1; i >= 0; i-- {
		if m := x.patterns[i].Match(path, dir); m != gitignore.NoMatch {
			return m == gitignore.Exclude
		}
	}
	return false
}
