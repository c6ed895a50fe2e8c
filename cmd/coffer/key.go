package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"coffer/media"
	"coffer/media/keyring"
)

// keyOptions say where the key of a store comes from. A secret is never an argument itself: other
// users can read those.
type keyOptions struct {
	identity        string
	passphrase      passphraseOptions
	recoveryKeyFile string

	used []keyring.Identity // with which the key was last opened
}

func (o *keyOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.identity, "identity", "", "`file` of an age identity or SSH key (default: that in the configuration folder)")
	o.passphrase.add(flags, "", "passphrase")
}

func (o *keyOptions) addRecovery(flags *pflag.FlagSet) {
	flags.StringVar(&o.recoveryKeyFile, "recovery-key-file", "", "`file` with the recovery key that init printed")
}

// keyFlags are the flags that say where the key comes from.
func keyFlags() *pflag.FlagSet {
	var o keyOptions
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.add(flags)
	o.addRecovery(flags)
	return flags
}

// unlock opens the master key of the store on m. A recovery key is the master key: nothing on m need be readable.
func (o *keyOptions) unlock(ctx context.Context, m media.Medium) (master keyring.Master, err error) {
	if o.recoveryKeyFile != "" {
		master, err = o.recoveryKey()
		o.used = []keyring.Identity{master.Identity()}
		return master, err
	}
	err = o.with(ctx, func(ids ...keyring.Identity) error {
		master, err = keyring.Open(ctx, m, ids...)
		return err
	})
	return master, err
}

// with has try open with what the options name; else the user's identity; else, on a terminal, a passphrase that is asked
// for. Try fails with keyring.ErrWrongKey where what it is given does not open the store.
func (o *keyOptions) with(ctx context.Context, try func(ids ...keyring.Identity) error) error {
	open := func(ids ...keyring.Identity) error {
		o.used = ids
		return try(ids...)
	}
	if o.recoveryKeyFile != "" {
		master, err := o.recoveryKey()
		if err != nil {
			return err
		}
		return open(master.Identity())
	}
	passphrase, given, err := o.passphrase.read(ctx, false)
	if err != nil {
		return err
	}
	if given {
		return openWith(passphrase, open)
	}
	ids, err := o.identities()
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		err := open(ids...)
		if !errors.Is(err, keyring.ErrWrongKey) || o.identity != "" || !interactive() {
			return err
		}
	}
	if !interactive() {
		return errNoKey
	}
	if passphrase, err = prompt("Passphrase: "); err != nil {
		return err
	}
	return openWith(passphrase, open)
}

func (o *keyOptions) recoveryKey() (keyring.Master, error) {
	text, err := os.ReadFile(o.recoveryKeyFile)
	if err != nil {
		return keyring.Master{}, fmt.Errorf("read the recovery key: %w", err)
	}
	return keyring.ParseRecovery(string(text))
}

func openWith(passphrase string, open func(ids ...keyring.Identity) error) error {
	id, err := keyring.PassphraseIdentity(passphrase)
	if err != nil {
		return err
	}
	return open(id)
}

// askSSH asks for the passphrase of an SSH key.
func askSSH() ([]byte, error) {
	text, err := prompt("Passphrase of the SSH key: ")
	return []byte(text), err
}

// identities reads the file that was named, or else the user's own if there is one.
func (o *keyOptions) identities() ([]keyring.Identity, error) {
	path := o.identity
	if path == "" {
		var err error
		if path, err = identityPath(); err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return keyring.ReadIdentityFile(path, askSSH)
}

// recipient is for whom a new store's key is sealed: a passphrase if one is given, else the user's
// identity, which is made if there is none. Made tells that it was.
func (o *keyOptions) recipient(ctx context.Context) (r keyring.Recipient, made string, err error) {
	passphrase, given, err := o.passphrase.read(ctx, true)
	if err != nil {
		return r, "", err
	}
	if given {
		r, err = keyring.PassphraseRecipient(passphrase, 0)
		return r, "", err
	}
	path, ids := o.identity, []keyring.Identity(nil)
	if path == "" {
		if path, err = identityPath(); err != nil {
			return r, "", err
		}
		var isNew bool
		if ids, isNew, err = keyring.EnsureIdentityFile(path, askSSH); isNew {
			made = path
		}
	} else {
		ids, err = keyring.ReadIdentityFile(path, askSSH)
	}
	if err != nil {
		return r, "", err
	}
	if len(ids) == 0 {
		return r, "", fmt.Errorf("%w: %s holds no identity", errNoKey, path)
	}
	r, err = ids[0].Recipient()
	return r, made, err
}
