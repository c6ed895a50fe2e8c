package compare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDiffSees makes one change of each kind and wants exactly that one reported: a comparer that
// is blind to something would make every other test of this directory blind to it.
func TestDiffSees(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(dir string) error
		want   string
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"content", func(d string) error {
			return keepTimes(d+"/file", func() error { return os.WriteFile(d+"/file", []byte("hellO"), 0) })
		}, "file: content"},
		{"size", func(d string) error {
			return keepTimes(d+"/file", func() error { return os.WriteFile(d+"/file", []byte("hello!"), 0) })
		}, "file: size"},
		{"mode", func(d string) error { return os.Chmod(d+"/file", 0o640) }, "file: mode"},
		{"mtime", func(d string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, d+"/file", []unix.Timespec{{Sec: 1}, {Sec: 1, Nsec: 2}}, 0)
		}, "file: mtime"},
		{"xattr", func(d string) error { return unix.Setxattr(d+"/file", "user.k", []byte("w"), 0) }, "file: xattrs"},
		{"target", func(d string) error {
			if err := os.Remove(d + "/sym"); err != nil {
				return err
			}
			return os.Symlink("elsewhere", d+"/sym")
		}, "sym: "},
		{"missing", func(d string) error { return os.Remove(d + "/sub/x") }, "sub/x: missing"},
		{"new", func(d string) error { return os.WriteFile(d+"/zz", nil, 0o600) }, "zz: should not be there"},
		{"broken link group", func(d string) error {
			if err := os.Remove(d + "/link2"); err != nil {
				return err
			}
			return os.Link(d+"/file", d+"/link2")
		}, "link1: link count"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := sample(t)
			before, err := Read(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := tc.change(dir); err != nil {
				t.Fatal(err)
			}
			after, err := Read(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(Diff(before, after), "\n")
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("diff says %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSkip(t *testing.T) {
	tree, err := Read(sample(t), func(path string) bool { return path == "sub" })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := tree["sub/x"]; ok {
		t.Error("a skipped directory was read")
	}
}

func sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/file", []byte("hello"), 0o644),
		unix.Setxattr(dir+"/file", "user.k", []byte("v"), 0),
		os.Mkdir(dir+"/sub", 0o755),
		os.WriteFile(filepath.Join(dir, "sub", "x"), []byte("x"), 0o644),
		os.WriteFile(dir+"/link1", []byte("linked"), 0o644),
		os.Link(dir+"/link1", dir+"/link2"),
		os.Symlink("file", dir+"/sym"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func keepTimes(path string, change func() error) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, 0)
}
