// Package keyring keeps the sealed master key of a store: 32 random bytes from
// which everything else is derived, in age files for recipients that can be
// changed without touching data.
//
// It holds no keys of volumes or sessions (chunkfmt derives those) and asks
// nobody for passphrases. It does not authenticate who sealed the key files:
// whoever can write to the store and knows a recipient can put another key in
// its place, so a writer keeps Master.ID and compares.
//
// There are two files, each stored twice. One is sealed for public keys, and
// for the recovery key; it lists the recipients. The other one, if there is one,
// is sealed for a passphrase, which age has stand by itself. Any age
// implementation opens them.
//
// Start reading at Create and Open, then change.go and recipient.go.
package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"coffer/media"
)

// Names of the sealed copies of the master key.
const (
	MasterName         = media.KeyName
	CopyName           = media.KeyCopyName
	PassphraseName     = media.PassphraseName
	PassphraseCopyName = media.PassphraseCopyName
)

// copies are where each file lies, the first place first. A file is written in
// the reverse order, so that what a crash leaves is the old one, found first.
var (
	masterCopies     = []string{MasterName, CopyName}
	passphraseCopies = []string{PassphraseName, PassphraseCopyName}
	anyCopy          = slices.Concat(masterCopies, passphraseCopies)
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
	// ErrRecipient: not a recipient, or none is left, or it is there already.
	ErrRecipient = errors.New("invalid recipient")
	// ErrLockedOut: without the recipient, only the recovery key would open
	// the store, or nothing of what it was opened with now.
	ErrLockedOut = errors.New("removing it would lock you out")
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
	return exists(ctx, m, anyCopy)
}

func exists(ctx context.Context, m media.Medium, names []string) (bool, error) {
	for _, name := range names {
		_, err := m.ReadAt(ctx, name, nil, 0)
		if !errors.Is(err, media.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// Open returns the master key of a store. It fails with ErrNoKey, ErrWrongKey
// or ErrDamaged. Identities are tried in turn, on all copies.
func Open(ctx context.Context, m media.Medium, ids ...Identity) (Master, error) {
	p, err := open(ctx, m, ids, anyCopy)
	return p.master, err
}

// Recipients lists those for whom the master key is sealed.
func Recipients(ctx context.Context, m media.Medium, ids ...Identity) ([]Recipient, error) {
	p, err := openAll(ctx, m, ids)
	return p.recipients, err
}

// openAll opens the key and finds all of its recipients: who opens either file
// has the recovery key, which opens the one with the list.
func openAll(ctx context.Context, m media.Medium, ids []Identity) (payload, error) {
	p, err := open(ctx, m, ids, masterCopies)
	if errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoKey) {
		var q payload
		if q, err = open(ctx, m, ids, anyCopy); err != nil {
			return payload{}, err
		}
		p, err = open(ctx, m, []Identity{q.master.Identity()}, masterCopies)
	}
	if err != nil {
		return payload{}, err
	}
	there, err := exists(ctx, m, passphraseCopies)
	if there && !slices.ContainsFunc(p.recipients, Recipient.isPassphrase) {
		p.recipients = append(p.recipients, Recipient{text: passphraseText, stays: true})
	}
	return p, err
}

// open opens whichever of the files can be opened, and says the most telling
// error if none can: a wrong key before damage, damage before absence.
func open(ctx context.Context, m media.Medium, ids []Identity, names []string) (payload, error) {
	var worst error
	var refused [][]byte // to try a passphrase takes a second
	for _, name := range names {
		sealed, err := media.ReadAll(ctx, m, name, maxFile)
		if slices.ContainsFunc(refused, func(b []byte) bool { return bytes.Equal(b, sealed) }) {
			continue
		}
		if err == nil {
			refused = append(refused, sealed)
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
