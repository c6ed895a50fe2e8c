// Package keyring keeps the sealed master key of a store: 32 random bytes from
// which everything else is derived, in an age file for recipients that can be
// changed without touching data.
//
// It holds no keys of volumes or sessions (chunkfmt derives those) and asks
// nobody for passphrases. It does not authenticate who sealed the key file:
// whoever can write to the store and knows a recipient can put another key in
// its place, so a writer keeps Master.ID and compares.
//
// Start reading at Create and Open, then master.go and recipient.go.
package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"coffer/media"
)

// Names of the two sealed copies of the master key.
const (
	MasterName = media.KeyName
	CopyName   = media.KeyCopyName
)

// maxFile bounds the key file: a recipient takes 1.7 KiB at most.
const maxFile = 1 << 20

// Errors of the keyring. None of them, nor anything wrapped around them, tells
// anything secret.
var (
	// ErrNoKey: the store has no key file.
	ErrNoKey = errors.New("store has no master key")
	// ErrWrongKey: no identity given opens the key file, or the passphrase is
	// wrong.
	ErrWrongKey = errors.New("wrong passphrase or identity")
	// ErrDamaged: the key file, recovery key or identity is not what it was.
	ErrDamaged = errors.New("damaged key")
	// ErrMixed: age lets a passphrase stand only by itself.
	ErrMixed = errors.New("a passphrase must be the only recipient")
	// ErrRecipient: not a recipient, or none is left, or it is there already.
	ErrRecipient = errors.New("invalid recipient")
)

// Create seals a master key for its first recipients and stores it twice. It
// fails with media.ErrExist if the store has a key.
func Create(ctx context.Context, m media.Medium, master Master, to ...Recipient) error {
	there, err := Exists(ctx, m)
	if err == nil && there {
		err = media.ErrExist
	}
	if err != nil {
		return fmt.Errorf("create master key: %w", err)
	}
	return Reseal(ctx, m, master, to...)
}

// Exists says whether the store has a key, readable or not, or a copy of one.
func Exists(ctx context.Context, m media.Medium) (bool, error) {
	for _, name := range []string{MasterName, CopyName} {
		_, err := m.ReadAt(ctx, name, nil, 0)
		if !errors.Is(err, media.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// Open returns the master key of a store. It fails with ErrNoKey, ErrWrongKey
// or ErrDamaged. Identities are tried in turn, on both copies.
func Open(ctx context.Context, m media.Medium, ids ...Identity) (Master, error) {
	p, err := open(ctx, m, ids)
	return p.master, err
}

// Recipients lists those for whom the master key is sealed.
func Recipients(ctx context.Context, m media.Medium, ids ...Identity) ([]Recipient, error) {
	p, err := open(ctx, m, ids)
	return p.recipients, err
}

// Reseal seals the master key for these recipients and no others. It may be
// repeated if it failed; until it has succeeded, former recipients may be able
// to open one of the two copies. Whoever has opened a copy once, or keeps one,
// can do so for ever: removing a recipient takes no knowledge back.
func Reseal(ctx context.Context, m media.Medium, master Master, to ...Recipient) error {
	sealed, err := seal(payload{master, to})
	if err != nil {
		return fmt.Errorf("seal master key: %w", err)
	}
	// One after the other: a crash between leaves two copies that open.
	for _, name := range []string{CopyName, MasterName} {
		if err := m.Put(ctx, name, sealed); err != nil {
			return fmt.Errorf("store master key: %w", err)
		}
	}
	return nil
}

// AddRecipient seals the key for one more recipient. It fails with ErrMixed if
// one of them is a passphrase, with ErrRecipient if it is there already.
func AddRecipient(ctx context.Context, m media.Medium, r Recipient, ids ...Identity) error {
	p, err := open(ctx, m, ids)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(p.recipients, r.same) {
		return fmt.Errorf("%w: %s is one already", ErrRecipient, r)
	}
	return Reseal(ctx, m, p.master, append(p.recipients, r)...)
}

// RemoveRecipient seals the key for one recipient less. It fails with
// ErrRecipient if it is the last one or none at all.
func RemoveRecipient(ctx context.Context, m media.Medium, r Recipient, ids ...Identity) error {
	p, err := open(ctx, m, ids)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(p.recipients, r.same)
	if i < 0 {
		return fmt.Errorf("%w: %s is not one of the store", ErrRecipient, r)
	}
	return Reseal(ctx, m, p.master, slices.Delete(p.recipients, i, i+1)...)
}

// Mend puts a sealed copy of the master key that the identities do not open, or
// that is missing, right from the other one, which they open, and says which. It
// fails as Open does if they open neither.
func Mend(ctx context.Context, m media.Medium, ids ...Identity) (mended string, err error) {
	if _, err := open(ctx, m, ids); err != nil {
		return "", err
	}
	names := []string{CopyName, MasterName} // in the order in which they are written
	var sealed [2][]byte
	var whole [2]bool
	for i, name := range names {
		b, err := media.ReadAll(ctx, m, name, maxFile)
		if err == nil {
			_, err = unseal(b, ids)
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		sealed[i], whole[i] = b, err == nil
	}
	from, to := 0, 1
	if !whole[0] {
		from, to = 1, 0
	}
	if bytes.Equal(sealed[0], sealed[1]) {
		return "", nil
	}
	if err := m.Put(ctx, names[to], sealed[from]); err != nil {
		return "", fmt.Errorf("mend master key %s: %w", names[to], err)
	}
	return names[to], nil
}

// open opens whichever copy can be opened, and says the most telling error if
// none can: a wrong key before damage, damage before absence.
func open(ctx context.Context, m media.Medium, ids []Identity) (payload, error) {
	var worst error
	for _, name := range []string{MasterName, CopyName} {
		sealed, err := media.ReadAll(ctx, m, name, maxFile)
		if err == nil {
			var p payload
			if p, err = unseal(sealed, ids); err == nil {
				return p, nil
			}
		}
		if errors.Is(err, media.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNoKey, err)
		}
		err = fmt.Errorf("open master key %s: %w", name, err)
		if worst == nil || rank(err) > rank(worst) {
			worst = err
		}
	}
	return payload{}, worst
}

func rank(err error) int {
	for i, e := range []error{ErrNoKey, ErrDamaged, ErrWrongKey} {
		if errors.Is(err, e) {
			return i
		}
	}
	return 3 // of the medium or the context
}
