package dir

import (
	"context"
	"fmt"
	"path/filepath"
)

// Link implements media.Linker: a hard link.
func (m *Medium) Link(ctx context.Context, from, to string) error {
	err := admit(ctx, from)
	if err == nil {
		err = admit(ctx, to)
	}
	if err == nil {
		err = m.makeParents(to)
	}
	if err == nil {
		err = m.root.Link(filepath.FromSlash(from), filepath.FromSlash(to))
	}
	if err == nil {
		err = m.syncAncestors(to)
	}
	if err != nil {
		return fmt.Errorf("link %s as %s: %w", from, to, translate(err))
	}
	return nil
}
