package tree

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"coffer/chunkfmt"
)

// readdirStep is how many entries are gathered under the directory's lock.
const readdirStep = 128

type listed struct {
	name string
	d    Dirent
}

// ReadDir gives the entries of a directory after the one whose cookie is after (0:
// from the first), without "." and "..", until f returns false. Cookies are at
// least 3. What is there all the time is given exactly once, whatever comes and
// goes meanwhile. attr gets the attributes of the entry; it may be ENOENT if that
// was removed meanwhile. No lock is held while f runs.
func (t *Tree) ReadDir(ctx context.Context, ino Ino, after uint64, f func(name string, d Dirent, attr func() (Attr, error)) bool) error {
	i, err := t.table.get(ino)
	if err != nil {
		return err
	}
	defer i.put()
	if !i.isDir() {
		return unix.ENOTDIR
	}
	buf := make([]listed, 0, 2*readdirStep)
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", unix.EINTR, err)
		}
		step, upTo, more, err := t.gather(i, after, buf[:0])
		if err != nil {
			return err
		}
		for _, e := range step {
			attr := func() (Attr, error) { return t.Getattr(ctx, e.d.Ino) }
			if !f(e.name, e.d, attr) {
				return nil
			}
		}
		if !more {
			return nil
		}
		after = upTo
	}
}

// gather takes one step of ReadDir: entries with cookies beyond after, up to and
// including upTo.
func (t *Tree) gather(i *inode, after uint64, out []listed) (step []listed, upTo uint64, more bool, err error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.dead {
		return nil, 0, false, unix.ENOENT
	}
	upTo = ^uint64(0)
	var over []place // of memory, after, at most a step
	dir := i.dir
	if dir != nil {
		over = dir.list[dir.after(after):]
		if len(over) > readdirStep {
			over = over[:readdirStep]
			upTo, more = over[readdirStep-1].cookie, true
		}
	}
	emitMemory := func(before uint64) {
		for len(over) > 0 && over[0].cookie < before {
			if p := over[0]; dir.valid(p) {
				if t.lost(p.d.epoch) {
					err = t.refuse()
				}
				out = append(out, listed{p.d.name, Dirent{Ino: p.d.ino, Type: p.d.typ, Cookie: p.cookie}})
			}
			over = over[1:]
		}
	}
	if !i.fresh {
		seen := 0
		xerr := t.cfg.Index.ReadDir(i.ino, after, readdirStep, func(name string, d chunkfmt.Dirent) bool {
			if d.Cookie > upTo {
				return false
			}
			if seen++; seen == readdirStep {
				upTo, more = d.Cookie, true
			}
			emitMemory(d.Cookie)
			e := Dirent{Ino: d.Ino, Type: d.Type, Cookie: d.Cookie}
			if dir != nil {
				if m := dir.names[name]; m != nil {
					if t.lost(m.epoch) {
						err = t.refuse()
					}
					if m.del || m.listed {
						return true // not any more, or at its own cookie
					}
					e.Ino, e.Type = m.ino, m.typ
				}
			}
			out = append(out, listed{name, e})
			return true
		})
		if xerr != nil {
			return nil, 0, false, fmt.Errorf("%w: list directory %d: %w", unix.EIO, i.ino, xerr)
		}
	}
	if upTo == ^uint64(0) {
		emitMemory(upTo)
	} else {
		emitMemory(upTo + 1)
	}
	return out, upTo, more, err
}
