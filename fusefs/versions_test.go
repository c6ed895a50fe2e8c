package fusefs

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"coffer/chunkfmt"
)

// TestVersions: pages stay as long as the version does, and while two versions are open nothing new goes through them.
func TestVersions(t *testing.T) {
	const file = 7
	var v versions
	steps := []struct {
		what    string
		version int64 // 0: close
		want    uint32
	}{
		{"the first open", 1, 0},
		{"another of the same version", 1, fuse.FOPEN_KEEP_CACHE},
		{"closed", 0, 0},
		{"closed", 0, 0},
		{"opened again", 1, fuse.FOPEN_KEEP_CACHE},
		{"a new version beside it", 2, fuse.FOPEN_DIRECT_IO},
		{"once more", 2, fuse.FOPEN_DIRECT_IO},
		{"the old one is closed", 0, 0},
		{"as long as one is open", 2, fuse.FOPEN_DIRECT_IO},
		{"closed", 0, 0},
		{"closed", 0, 0},
		{"closed", 0, 0},
		{"when all are closed, pages may be of any version", 2, 0},
		{"closed", 0, 0},
		{"and are of that one then", 2, fuse.FOPEN_KEEP_CACHE},
		{"closed", 0, 0},
		{"a new version", 3, 0},
	}
	for i, s := range steps {
		if s.version == 0 {
			v.close(file)
			continue
		}
		if got := v.open(file, chunkfmt.Time{Sec: s.version}); got != s.want {
			t.Errorf("step %d, %s: flags %x, want %x", i, s.what, got, s.want)
		}
	}
	for n := range uint64(maxVersions + 10) {
		v.open(100+n, chunkfmt.Time{})
		v.close(100 + n)
	}
	if len(v.last) > maxVersions+1 {
		t.Errorf("%d files are remembered", len(v.last))
	}
}
