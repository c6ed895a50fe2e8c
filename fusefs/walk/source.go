package walk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// source is one of Options.Sources, found.
type source struct {
	path     string // as given
	fd       int    // of the directory itself if contents, else of the directory that holds it
	name     string // in that directory; empty if contents
	contents bool   // what is in the directory is to be put, not the directory
}

// openSources finds all sources before anything is changed: a misspelt one should not cost a half-done run.
func openSources(paths []string) ([]source, error) {
	var all []source
	for _, path := range paths {
		s, err := openSource(path)
		if err != nil {
			return all, fmt.Errorf("%w: %s: %w", ErrSource, path, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func openSource(path string) (source, error) {
	if path == "" {
		return source{}, unix.ENOENT
	}
	s := source{path: path, contents: strings.HasSuffix(path, "/")}
	switch filepath.Base(path) {
	case ".", "..":
		s.contents = true
	}
	open := path
	if !s.contents {
		open, s.name = filepath.Split(path)
		if open == "" {
			open = "."
		}
	}
	fd, err := unix.Open(open, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return source{}, err
	}
	s.fd = fd
	if !s.contents {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, s.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			unix.Close(fd)
			return source{}, err
		}
	}
	return s, nil
}

func closeSources(all []source) {
	for _, s := range all {
		unix.Close(s.fd)
	}
}

// above is the path of the directory that fd is open on.
func (s *source) above() string {
	if s.contents {
		return filepath.Clean(s.path)
	}
	dir, _ := filepath.Split(s.path)
	return strings.TrimSuffix(dir, string(os.PathSeparator))
}
