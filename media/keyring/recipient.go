package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// passphraseText stands for a passphrase in a list of recipients.
const passphraseText = "passphrase"

// Work factors of scrypt, as base-2 logarithms: 18 takes about a second and
// 256 MiB; more than 22 in a key file is refused, for whoever can write to the
// store must not make us work for an hour.
const (
	DefaultWork = 18
	maxWork     = 22
)

// Recipient can be sealed to. The zero value cannot.
type Recipient struct {
	text string
	age  age.Recipient
}

// Identity can open what was sealed to its recipient. It shows nothing secret
// when printed or logged.
type Identity struct {
	age       age.Identity
	recipient Recipient // zero where it is not known
	text      string    // secret; as in an identity file
}

// ParseRecipient reads a public key, age1… or age1pq1…. It fails with
// ErrRecipient.
func ParseRecipient(text string) (Recipient, error) {
	text = strings.TrimSpace(text)
	list, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(list) != 1 {
		return Recipient{}, fmt.Errorf("%w: want one public key, age1…", ErrRecipient)
	}
	return Recipient{text, list[0]}, nil
}

// PassphraseRecipient seals to a passphrase, which must then be the only
// recipient. Work is the base-2 logarithm of the scrypt work factor, 1 to 22;
// 0 means DefaultWork; tests use a low one.
func PassphraseRecipient(passphrase string, work int) (Recipient, error) {
	if work == 0 {
		work = DefaultWork
	}
	if work < 1 || work > maxWork {
		return Recipient{}, fmt.Errorf("%w: work factor %d, want 1 to %d", ErrRecipient, work, maxWork)
	}
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return Recipient{}, fmt.Errorf("%w: %w", ErrRecipient, err)
	}
	r.SetWorkFactor(work)
	return Recipient{passphraseText, r}, nil
}

// String returns the public key, or "passphrase".
func (r Recipient) String() string { return r.text }

func (r Recipient) same(other Recipient) bool { return r.text == other.text }

// PassphraseIdentity opens what was sealed to a passphrase.
func PassphraseIdentity(passphrase string) (Identity, error) {
	i, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	i.SetMaxWorkFactor(maxWork)
	return Identity{age: i, recipient: Recipient{text: passphraseText}}, nil
}

// NewIdentity returns a new random identity, of the hybrid kind that holds
// against quantum computers too.
func NewIdentity() (Identity, error) {
	i, err := age.GenerateHybridIdentity()
	if err != nil {
		return Identity{}, fmt.Errorf("new identity: %w", err)
	}
	return wrapIdentity(i), nil
}

// ParseIdentities reads age identities, one a line; empty lines and those that
// begin with # are comments. It fails with ErrDamaged, which repeats nothing of
// the text.
func ParseIdentities(text []byte) ([]Identity, error) {
	list, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%w: not age identities, one a line", ErrDamaged)
	}
	var ids []Identity
	for _, i := range list {
		ids = append(ids, wrapIdentity(i))
	}
	return ids, nil
}

func wrapIdentity(i age.Identity) Identity {
	switch i := i.(type) {
	case *age.HybridIdentity:
		return Identity{i, Recipient{i.Recipient().String(), i.Recipient()}, i.String()}
	case *age.X25519Identity:
		return Identity{i, Recipient{i.Recipient().String(), i.Recipient()}, i.String()}
	}
	return Identity{age: i}
}

// Recipient returns the public half of an identity. It fails with ErrRecipient
// for a passphrase: see PassphraseRecipient.
func (i Identity) Recipient() (Recipient, error) {
	if i.recipient.age == nil {
		return Recipient{}, fmt.Errorf("%w: a passphrase has no public key", ErrRecipient)
	}
	return i.recipient, nil
}

// Format writes the public half, whatever the verb.
func (i Identity) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "identity of %s", i.recipient) }

// LogValue returns the public half.
func (i Identity) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(i)) }

// ReadIdentityFile reads a file of identities. It fails with fs.ErrNotExist, or
// with ErrDamaged if the file holds none.
func ReadIdentityFile(path string) ([]Identity, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	ids, err := ParseIdentities(text)
	if err != nil {
		return nil, fmt.Errorf("read identity %s: %w", path, err)
	}
	return ids, nil
}

// EnsureIdentityFile reads the file, or makes it, with mode 0600 and a new
// identity, if it is missing; made tells which. Directories are made with mode
// 0700. A file made is stable: a store sealed to an identity that a crash took
// could not be opened again.
func EnsureIdentityFile(path string) (ids []Identity, made bool, err error) {
	ids, err = ReadIdentityFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return ids, false, err
	}
	id, err := NewIdentity()
	if err == nil {
		err = writeIdentity(path, id)
	}
	if errors.Is(err, fs.ErrExist) {
		// Someone was faster.
		ids, err = ReadIdentityFile(path)
		return ids, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("make identity: %w", err)
	}
	return []Identity{id}, true, nil
}

func writeIdentity(path string, id Identity) error {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	// Under another name first, so that nobody ever reads half of it.
	f, err := os.CreateTemp(parent, ".identity-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintf(f, "# coffer identity; whoever has this file can open the stores sealed to it\n# public key: %s\n%s\n", id.recipient, id.text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
