package keyring

import (
	"fmt"
	"strings"
	"unicode"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
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
	// stays: the passphrase's file stays as it is, for the passphrase is not known.
	stays bool
	// sealed is that file where it is to be put in its place.
	sealed []byte
}

// ParseRecipient reads a public key: age1…, age1pq1…, ssh-ed25519 … or ssh-rsa …
// with or without a comment. It fails with ErrRecipient.
func ParseRecipient(text string) (Recipient, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "ssh-") && !strings.Contains(text, "\n") {
		return parseSSHRecipient(text)
	}
	list, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(list) != 1 {
		return Recipient{}, fmt.Errorf("%w: want one public key, age1…, ssh-ed25519 … or ssh-rsa …", ErrRecipient)
	}
	return Recipient{text: text, age: list[0]}, nil
}

func parseSSHRecipient(text string) (Recipient, error) {
	public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return Recipient{}, fmt.Errorf("%w: not an SSH public key", ErrRecipient)
	}
	return sshRecipient(public, comment)
}

// sshRecipient fails with ErrRecipient for a kind of key that cannot be sealed to.
func sshRecipient(public ssh.PublicKey, comment string) (Recipient, error) {
	text := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	to, err := agessh.ParseRecipient(text)
	if err != nil {
		return Recipient{}, fmt.Errorf("%w: an SSH key of type %s; want ssh-ed25519 or ssh-rsa", ErrRecipient, public.Type())
	}
	printable := func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}
	if comment = strings.Map(printable, comment); comment != "" {
		text += " " + comment
	}
	return Recipient{text: text, age: to}, nil
}

// PassphraseRecipient seals to a passphrase. Work is the base-2 logarithm of the
// scrypt work factor, 1 to 22; 0 means DefaultWork; tests use a low one.
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
	return Recipient{text: passphraseText, age: r}, nil
}

// String returns the public key, with its comment if it has one, or
// "passphrase".
func (r Recipient) String() string { return r.text }

func (r Recipient) isPassphrase() bool { return r.text == passphraseText }

// same leaves comments of SSH keys out.
func (r Recipient) same(other Recipient) bool {
	return r.text != "" && bare(r.text) == bare(other.text)
}

func bare(text string) string {
	fields := strings.SplitN(text, " ", 3)
	return strings.Join(fields[:min(2, len(fields))], " ")
}
