package apps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coffer/test/rig"
)

// TestGoBuild builds this project with its source, the compiler's cache and its temporary files on the mount. The
// result must be the same to the bit as elsewhere, and the cache must be taken for what it is, also after the mount
// is made anew. COFFER_BUILD_ALL=1 builds all of the program, in each mode, and not only a package of it.
func TestGoBuild(t *testing.T) {
	all := os.Getenv("COFFER_BUILD_ALL") == "1"
	build := "go build -trimpath -buildvcs=false -v -o $OUT -buildmode=archive ./pipeline"
	if all {
		build = "go build -trimpath -buildvcs=false -v -o $OUT ./cmd/coffer"
	}
	root := filepath.Dir(strings.TrimSpace(rig.Output(t, "go", "env", "GOMOD")))
	want := filepath.Join(t.TempDir(), "program")
	shell(t, root, build, "OUT="+want)
	test := func(t *testing.T, v *volume) {
		rig.Must(t, os.Mkdir(v.Path("tmp"), 0o755))
		shell(t, v.mnt, "rsync -a --exclude .git --exclude /bin "+root+"/ source/")
		env := []string{"GOCACHE=" + v.Path("cache"), "TMPDIR=" + v.Path("tmp"), "OUT=" + v.Path("program")}
		if out := shell(t, v.Path("source"), build, env...); !strings.Contains(out, "runtime") {
			t.Fatalf("the first build has not compiled everything:\n%s", out)
		}
		shell(t, v.mnt, "cmp program "+want)
		if left := shell(t, v.mnt, "ls tmp"); left != "" {
			t.Errorf("left in TMPDIR: %s", left)
		}
		v.again()
		if out := shell(t, v.Path("source"), build, env...); out != "" {
			t.Errorf("with a full cache, compiled anew:\n%s", out)
		}
		shell(t, v.mnt, "cmp program "+want)
		v.Unmount(t)
	}
	if !all {
		test(t, newVolume(t))
		return
	}
	inModes(t, test)
}
