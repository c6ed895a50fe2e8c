package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestRunDir(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(dir string) error
		ok      bool
	}{
		{"missing", func(string) error { return nil }, true},
		{"there already", func(dir string) error { return os.Mkdir(dir, 0o700) }, true},
		{"open to the group", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o750)) }, false},
		{"open to all", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o701)) }, false},
		{"of another user", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, nobody, nobody)) }, false},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, false},
		{"a link", func(dir string) error {
			return errors.Join(os.Mkdir(dir+".other", 0o700), os.Symlink(dir+".other", dir))
		}, false},
		{"a dead link", func(dir string) error { return os.Symlink(dir+".other", dir) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := t.TempDir()
			t.Setenv("XDG_RUNTIME_DIR", base)
			want := filepath.Join(base, "coffer")
			if err := test.prepare(want); err != nil {
				t.Fatal(err)
			}
			got, err := runDir()
			if (err == nil) != test.ok || test.ok && got != want {
				t.Fatalf("got %q, %v", got, err)
			}
			if test.ok {
				return
			}
			if s, err := Listen(calls{}, Info{Pid: 1}); err == nil {
				t.Error("a socket was made there")
				s.Close()
			}
			if _, err := Mounts(); err == nil {
				t.Error("mounts were looked for there")
			}
		})
	}
}

// TestRunDirIsPrivate whatever the umask lets through.
func TestRunDirIsPrivate(t *testing.T) {
	_, s, dir := listen(t)
	for path, want := range map[string]os.FileMode{dir: os.ModeDir | 0o700, s.path: os.ModeSocket | 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}
