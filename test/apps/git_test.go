package apps

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"coffer/test/rig"
)

// TestGit makes a repository, clones it in both ways that there are, collects its garbage, checks it, and works in
// it. COFFER_GIT_COMMITS says how many commits it has.
func TestGit(t *testing.T) {
	commits := rig.Count(t, "COFFER_GIT_COMMITS", 150)
	control := t.TempDir()
	importHistory(t, control, commits)
	head := gitState(t, control+"/repo")
	inModes(t, func(t *testing.T, v *volume) {
		importHistory(t, v.mnt, commits)
		for _, step := range []struct{ name, script string }{
			{"clone by links", "git clone -q repo linked"},
			{"clone by copies", "git clone -q --no-local repo copied"},
			{"collect", "git -C repo gc -q --prune=now && git -C copied gc -q --aggressive"},
			{"work", `cd linked && git config user.name t && git config user.email t@t
				git checkout -q -b other HEAD~50 && git mv dir1 moved && echo more >> moved/file1
				git commit -qam move && git stash list && git rebase -q --onto HEAD~1 HEAD~1
				git checkout -q main && git merge -q --no-edit -s ours other && git reset -q --hard HEAD~1`},
			{"pack anew", "git -C linked repack -q -a -d -f && git -C linked prune-packed && git -C linked pack-refs --all"},
		} {
			t.Log(step.name)
			shell(t, v.mnt, step.script)
		}
		checkRepos := func() {
			t.Helper()
			for _, repo := range []string{"repo", "linked", "copied"} {
				dir := v.Path(repo)
				shell(t, dir, "git fsck --full --strict --no-dangling")
				if got := gitState(t, dir); got != head {
					t.Errorf("%s is at %s, want %s", repo, got, head)
				}
				if repo != "repo" {
					if out := shell(t, dir, "git status --porcelain && git diff --stat"); out != "" {
						t.Errorf("the files of %s have changed:\n%s", repo, out)
					}
				}
			}
		}
		checkRepos()
		v.again()
		checkRepos()
		v.Unmount(t)
	})
}

// gitState is the last commit and a number of all that leads to it.
func gitState(t *testing.T, repo string) string {
	t.Helper()
	return strings.TrimSpace(shell(t, repo, "git rev-parse main && git rev-list --objects main | sort | sha256sum"))
}

// importHistory makes the bare repository dir/repo.
func importHistory(t *testing.T, dir string, commits int) {
	t.Helper()
	shell(t, dir, "git init -q --bare -b main repo")
	cmd := exec.Command("git", "-C", dir+"/repo", "fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	rig.Must(t, err)
	var said strings.Builder
	cmd.Stderr = &said
	rig.Must(t, cmd.Start())
	w := bufio.NewWriterSize(in, 1<<16)
	writeHistory(w, commits)
	rig.Must(t, w.Flush(), in.Close())
	if err := cmd.Wait(); err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, said.String())
	}
}

// writeHistory writes the same history each time: files that grow and change, with a branch merged now and then.
func writeHistory(w io.Writer, commits int) {
	rng := rand.New(rand.NewPCG(1, 1))
	text := func() string {
		var s strings.Builder
		for range 20 + rng.IntN(60) {
			fmt.Fprintf(&s, "line %d of %x\n", rng.IntN(1000), rng.Uint64()>>rng.IntN(60))
		}
		return s.String()
	}
	data := func(s string) { fmt.Fprintf(w, "data %d\n%s\n", len(s), s) }
	for k := 1; k <= commits; k++ {
		branch := "main"
		if k%10 == 5 {
			branch = "side"
		}
		fmt.Fprintf(w, "commit refs/heads/%s\nmark :%d\ncommitter T <t@t> %d +0000\n", branch, k, 1_700_000_000+k*60)
		data(fmt.Sprintf("commit %d", k))
		if branch == "side" {
			fmt.Fprintf(w, "from :%d\n", k-1)
		}
		if k%10 == 8 {
			fmt.Fprintf(w, "merge :%d\n", k-3)
		}
		for range 1 + rng.IntN(3) {
			fmt.Fprintf(w, "M 100644 inline dir%d/file%d\n", rng.IntN(20), rng.IntN(20))
			data(text())
		}
		if k == 1 {
			fmt.Fprint(w, "M 100755 inline dir1/file1\n")
			data("#!/bin/sh\n")
			fmt.Fprint(w, "M 120000 inline dir2/link\n")
			data("../dir1/file1")
		}
		fmt.Fprintln(w)
	}
}
