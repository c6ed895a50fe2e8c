package restore

import (
	"context"

	"golang.org/x/sys/unix"

	"coffer/fusefs/past"
)

// Size gives the bytes of the regular files of a part, each of which counts once.
func Size(ctx context.Context, part *past.Part) (bytes uint64, err error) {
	var walk func(past.Dir) error
	walk = func(d past.Dir) error {
		return part.Each(ctx, d, func(c past.Child) error {
			switch c.Type {
			case unix.DT_DIR:
				return walk(c.Dir())
			case unix.DT_REG:
				n, err := size(part, d, &c)
				bytes += n
				return err
			}
			return nil
		})
	}
	return bytes, walk(part.Root())
}

func size(part *past.Part, d past.Dir, c *past.Child) (uint64, error) {
	i, err := part.State().Inode(c.Ino)
	if err != nil || i.Nlink < 2 {
		return i.Size, err
	}
	first, err := part.First(c.Ino)
	if err != nil || first.Link != (past.Link{Parent: d.Ino, Name: c.Name}) {
		return 0, err
	}
	return i.Size, nil
}
