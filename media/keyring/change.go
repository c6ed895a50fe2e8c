package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"coffer/media"
)

// Reseal seals the master key for these recipients and no others. It may be
// repeated if it failed; until it has succeeded, former recipients may be able
// to open one of the copies. Whoever has opened a copy once, or keeps one, can
// do so for ever: removing a recipient takes no knowledge back.
//
// After a crash at any instant each copy of each file opens for the former
// recipients or for the new ones, and whoever is among both can open the key.
func Reseal(ctx context.Context, m media.Medium, master Master, to ...Recipient) error {
	if len(to) == 0 {
		return fmt.Errorf("seal master key: %w: none given", ErrRecipient)
	}
	for _, r := range to {
		if r.age == nil {
			return fmt.Errorf("seal master key: %w: %q cannot be sealed to", ErrRecipient, r.text)
		}
	}
	return reseal(ctx, m, payload{master, to})
}

func reseal(ctx context.Context, m media.Medium, p payload) error {
	keys, phrase, err := seal(p)
	if err != nil {
		return fmt.Errorf("seal master key: %w", err)
	}
	// The passphrase's file comes before and goes after the other one: that may be
	// what a store of before held a passphrase in.
	if phrase != nil {
		if err := put(ctx, m, passphraseCopies, phrase); err != nil {
			return err
		}
	}
	if err := put(ctx, m, masterCopies, keys); err != nil {
		return err
	}
	if slices.ContainsFunc(p.recipients, Recipient.isPassphrase) {
		return nil
	}
	for _, name := range slices.Backward(passphraseCopies) {
		if err := m.Remove(ctx, name); err != nil && !errors.Is(err, media.ErrNotExist) {
			return fmt.Errorf("remove the key of a passphrase: %w", err)
		}
	}
	return nil
}

// put writes one copy after the other: a crash between leaves two that open.
func put(ctx context.Context, m media.Medium, names []string, sealed []byte) error {
	for _, name := range slices.Backward(names) {
		if err := m.Put(ctx, name, sealed); err != nil {
			return fmt.Errorf("store master key: %w", err)
		}
	}
	return nil
}

// AddRecipient seals the key for one more recipient. It fails with ErrRecipient
// if it is one already; there is one passphrase at most.
func AddRecipient(ctx context.Context, m media.Medium, r Recipient, ids ...Identity) error {
	return update(ctx, m, ids, func(all []Recipient) ([]Recipient, error) {
		if slices.ContainsFunc(all, r.same) {
			return nil, fmt.Errorf("%w: %s is one already", ErrRecipient, r)
		}
		return append(all, r), nil
	})
}

// RemoveRecipient seals the key for one recipient less. It fails with
// ErrRecipient if it is none; with ErrLockedOut if it is the last one or the only
// one of which ids has the secret half, unless force, when the recovery key may
// become all that opens the store.
func RemoveRecipient(ctx context.Context, m media.Medium, r Recipient, force bool, ids ...Identity) error {
	return update(ctx, m, ids, func(all []Recipient) ([]Recipient, error) {
		i := slices.IndexFunc(all, r.same)
		if i < 0 {
			return nil, fmt.Errorf("%w: %s is not one of the store", ErrRecipient, r)
		}
		left := slices.Delete(slices.Clone(all), i, i+1)
		switch {
		case force:
		case len(left) == 0:
			return nil, fmt.Errorf("%w: it is the last recipient", ErrLockedOut)
		case !opensOne(ids, left):
			return nil, fmt.Errorf("%w: it is the one that opens the store here and now", ErrLockedOut)
		}
		return left, nil
	})
}

// opensOne says whether one of the identities is known to be of one of the
// recipients, or opens the key whoever they are.
func opensOne(ids []Identity, of []Recipient) bool {
	return slices.ContainsFunc(ids, func(id Identity) bool {
		_, recovery := id.age.(recoveryIdentity)
		return recovery || slices.ContainsFunc(of, id.Is)
	})
}

// ChangePassphrase puts a passphrase in the place of the present one. It fails
// with ErrRecipient if there is none. Ask gives the new one, a
// PassphraseRecipient, once the key is open.
func ChangePassphrase(ctx context.Context, m media.Medium, ask func() (Recipient, error), ids ...Identity) error {
	return update(ctx, m, ids, func(all []Recipient) ([]Recipient, error) {
		i := slices.IndexFunc(all, Recipient.isPassphrase)
		if i < 0 {
			return nil, fmt.Errorf("%w: the store has no passphrase", ErrRecipient)
		}
		to, err := ask()
		if err == nil && !to.isPassphrase() {
			err = fmt.Errorf("%w: %s is not a passphrase", ErrRecipient, to)
		}
		return slices.Replace(slices.Clone(all), i, i+1, to), err
	})
}

// update seals the key for what change makes of its recipients. Others that
// change them at the same time are kept away where the medium can: it fails with
// media.ErrLocked then.
func update(ctx context.Context, m media.Medium, ids []Identity, change func([]Recipient) ([]Recipient, error)) (err error) {
	if locker, ok := m.(media.Locker); ok {
		unlock, err := locker.Lock(ctx, "keys/lock", "a change of the key's recipients")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	p, err := openAll(ctx, m, ids)
	if err != nil {
		return err
	}
	if p.recipients, err = change(p.recipients); err != nil {
		return err
	}
	return reseal(ctx, m, p)
}
