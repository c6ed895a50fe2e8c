package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"coffer/media"
)

// Mend puts a copy of a key file that is damaged or missing right from the other
// one, and says which; "" if both are whole. The identities must open the store, or
// it fails as Open does. Which copy of the file for a passphrase is whole shows only
// when the passphrase is among them.
func Mend(ctx context.Context, m media.Medium, ids ...Identity) (mended string, err error) {
	p, err := open(ctx, m, ids, anyCopy)
	if err != nil {
		return "", err
	}
	ids = append([]Identity{p.master.Identity()}, ids...)
	for _, names := range [][]string{masterCopies, passphraseCopies} {
		name, err := mend(ctx, m, ids, names)
		if err != nil {
			return mended, fmt.Errorf("mend master key: %w", err)
		}
		if name != "" {
			mended = name
		}
	}
	return mended, nil
}

// mend is Mend of one file.
func mend(ctx context.Context, m media.Medium, ids []Identity, names []string) (mended string, err error) {
	var sealed [2][]byte
	var whole [2]bool
	missing := 0
	for i, name := range names {
		b, err := media.ReadAll(ctx, m, name, maxFile)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if errors.Is(err, media.ErrNotExist) {
			missing++
		}
		if err == nil {
			_, err = unseal(b, ids)
		}
		sealed[i], whole[i] = b, err == nil
	}
	if missing == len(names) || missing == 0 && bytes.Equal(sealed[0], sealed[1]) {
		return "", nil
	}
	// Where both open, a crash left an older one in the first place, which is the one that counts.
	from, to := 0, 1
	if !whole[0] {
		from, to = 1, 0
	}
	if !whole[from] {
		return "", fmt.Errorf("which of %s and %s is whole, shows with what they are sealed for: %w", names[0], names[1], ErrWrongKey)
	}
	if err := m.Put(ctx, names[to], sealed[from]); err != nil {
		return "", fmt.Errorf("write %s: %w", names[to], err)
	}
	return names[to], nil
}
