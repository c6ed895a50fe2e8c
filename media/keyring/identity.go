package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
)

// Identity can open what was sealed to its recipient. It shows nothing secret
// when printed or logged.
type Identity struct {
	age       age.Identity
	recipient Recipient // zero where it is not known
	text      string    // secret; as in an identity file
}

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

// Ask gives the passphrase by which an SSH key is protected.
type Ask func() ([]byte, error)

// ParseIdentities reads age identities, one a line (empty lines and those that
// begin with # are comments), or one SSH private key. It fails with ErrDamaged,
// which repeats nothing of the text. Ask is called, if it is needed, once the
// identity is used.
func ParseIdentities(text []byte, ask Ask) ([]Identity, error) {
	if bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		id, err := parseSSHIdentity(text, ask)
		return []Identity{id}, err
	}
	list, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%w: neither age identities, one a line, nor an SSH private key", ErrDamaged)
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
		return Identity{i, Recipient{text: i.Recipient().String(), age: i.Recipient()}, i.String()}
	case *age.X25519Identity:
		return Identity{i, Recipient{text: i.Recipient().String(), age: i.Recipient()}, i.String()}
	}
	return Identity{age: i}
}

func parseSSHIdentity(text []byte, ask Ask) (Identity, error) {
	signer, err := ssh.ParsePrivateKey(text)
	if locked := new(ssh.PassphraseMissingError); errors.As(err, &locked) {
		if locked.PublicKey == nil {
			return Identity{}, fmt.Errorf("%w: an SSH key that is protected and of an old form; `ssh-keygen -p` renews it", ErrDamaged)
		}
		return lockedSSHIdentity(locked.PublicKey, text, ask)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("%w: not an SSH private key", ErrDamaged)
	}
	i, err := agessh.ParseIdentity(text)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: an SSH key of type %s; want ssh-ed25519 or ssh-rsa", ErrDamaged, signer.PublicKey().Type())
	}
	to, err := sshRecipient(signer.PublicKey(), "")
	return Identity{age: i, recipient: to}, err
}

func lockedSSHIdentity(public ssh.PublicKey, text []byte, ask Ask) (Identity, error) {
	to, err := sshRecipient(public, "")
	if err != nil {
		return Identity{}, err
	}
	// Several copies may be tried: once is enough to be asked.
	i, err := agessh.NewEncryptedSSHIdentity(public, text, sync.OnceValues(ask))
	if err != nil {
		return Identity{}, fmt.Errorf("%w: an SSH key of type %s", ErrDamaged, public.Type())
	}
	return Identity{age: lockedSSH{i}, recipient: to}, nil
}

// lockedSSH tells a wrong passphrase of an SSH key from damage.
type lockedSSH struct{ age.Identity }

// Unwrap implements age.Identity.
func (i lockedSSH) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	fileKey, err := i.Identity.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	return fileKey, err
}

// Recipient returns the public half of an identity. It fails with ErrRecipient
// for a passphrase: see PassphraseRecipient.
func (i Identity) Recipient() (Recipient, error) {
	if i.recipient.age == nil {
		return Recipient{}, fmt.Errorf("%w: a passphrase has no public key", ErrRecipient)
	}
	return i.recipient, nil
}

// Is says whether the identity is known to be the secret half of r.
func (i Identity) Is(r Recipient) bool { return i.recipient.same(r) }

// Format writes the public half, whatever the verb.
func (i Identity) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "identity of %s", i.recipient) }

// LogValue returns the public half.
func (i Identity) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(i)) }

// ReadIdentityFile reads a file of identities. It fails with fs.ErrNotExist, or
// with ErrDamaged if the file holds none. Ask is as in ParseIdentities.
func ReadIdentityFile(path string, ask Ask) ([]Identity, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	ids, err := ParseIdentities(text, ask)
	if err != nil {
		return nil, fmt.Errorf("read identity %s: %w", path, err)
	}
	return ids, nil
}

// EnsureIdentityFile reads the file, or makes it, with mode 0600 and a new
// identity, if it is missing; made tells which. Directories are made with mode
// 0700. A file made is stable: a store sealed to an identity that a crash took
// could not be opened again.
func EnsureIdentityFile(path string, ask Ask) (ids []Identity, made bool, err error) {
	ids, err = ReadIdentityFile(path, ask)
	if !errors.Is(err, fs.ErrNotExist) {
		return ids, false, err
	}
	id, err := NewIdentity()
	if err == nil {
		err = writeIdentity(path, id)
	}
	if errors.Is(err, fs.ErrExist) {
		// Someone was faster.
		ids, err = ReadIdentityFile(path, ask)
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
