package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
	"coffer/fusefs/past"
)

// entryLine is a file as ls and find print it.
type entryLine struct {
	Path   string    `json:"path"`
	Inode  uint64    `json:"inode"`
	Mode   string    `json:"mode"` // as ls -l shows it
	Nlink  uint32    `json:"nlink"`
	Uid    uint32    `json:"uid"`
	Gid    uint32    `json:"gid"`
	Size   uint64    `json:"size"`
	Mtime  time.Time `json:"mtime"`
	Target string    `json:"target,omitempty"`
}

func entryLineOf(path string, e *past.Entry) entryLine {
	return entryLine{
		Path: path, Inode: uint64(e.Ino), Mode: modeString(e.Mode), Nlink: e.Nlink, Uid: e.Uid, Gid: e.Gid,
		Size: e.Size, Mtime: goTime(e.Mtime), Target: e.Target,
	}
}

func goTime(t chunkfmt.Time) time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

// print writes the line in one of three ways: JSON, all of it, or the path alone.
func (l *entryLine) print(out io.Writer, asJSON, long bool) error {
	var err error
	switch {
	case asJSON:
		err = json.NewEncoder(out).Encode(l)
	case long:
		target := ""
		if l.Target != "" {
			target = " -> " + printable(l.Target)
		}
		_, err = fmt.Fprintf(out, "%s %3d %5d %5d %12d %s %s%s\n", l.Mode, l.Nlink, l.Uid, l.Gid, l.Size,
			l.Mtime.Local().Format("2006-01-02 15:04:05"), printable(l.Path), target)
	default:
		_, err = fmt.Fprintln(out, printable(l.Path))
	}
	return err
}

// modeString shows a mode as ls does.
func modeString(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	for kind, letter := range map[uint32]byte{
		unix.S_IFREG: '-', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFCHR: 'c',
		unix.S_IFBLK: 'b', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's',
	} {
		if mode&unix.S_IFMT == kind {
			b[0] = letter
		}
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for _, special := range []struct {
		bit    uint32
		at     int
		letter byte
	}{{unix.S_ISUID, 3, 's'}, {unix.S_ISGID, 6, 's'}, {unix.S_ISVTX, 9, 't'}} {
		switch {
		case mode&special.bit == 0:
		case b[special.at] == 'x':
			b[special.at] = special.letter
		default:
			b[special.at] = special.letter - 'a' + 'A'
		}
	}
	return string(b)
}
