package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"coffer/media"
	"coffer/media/keyring"
)

// keyOptions say where the key of a store comes from. A secret is never an argument itself: other
// users can read those.
type keyOptions struct {
	identity          string
	passphraseFile    string
	passphraseCommand string
	recoveryKeyFile   string
	ask               bool

	used []keyring.Identity // with which unlock opened the key, if it was by one
}

func (o *keyOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.identity, "identity", "", "`file` of an age identity or SSH key (default: that in the configuration folder)")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "`file` whose first line is the passphrase")
	flags.StringVar(&o.passphraseCommand, "passphrase-command", "", "shell `command` that prints the passphrase")
	flags.BoolVar(&o.ask, "passphrase", false, "ask for a passphrase")
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

// unlock opens the master key of the store on m with what the options name; else with the user's
// identity; else, on a terminal, with a passphrase that is asked for.
func (o *keyOptions) unlock(ctx context.Context, m media.Medium) (keyring.Master, error) {
	if o.recoveryKeyFile != "" {
		text, err := os.ReadFile(o.recoveryKeyFile)
		if err != nil {
			return keyring.Master{}, fmt.Errorf("read the recovery key: %w", err)
		}
		return keyring.ParseRecovery(string(text))
	}
	passphrase, given, err := o.passphrase(ctx, false)
	if err != nil {
		return keyring.Master{}, err
	}
	if given {
		return o.openWithPassphrase(ctx, m, passphrase)
	}
	ids, err := o.identities()
	if err != nil {
		return keyring.Master{}, err
	}
	if len(ids) > 0 {
		o.used = ids
		master, err := keyring.Open(ctx, m, ids...)
		if !errors.Is(err, keyring.ErrWrongKey) || o.identity != "" || !interactive() {
			return master, err
		}
	}
	if !interactive() {
		return keyring.Master{}, errNoKey
	}
	if passphrase, err = prompt("Passphrase: "); err != nil {
		return keyring.Master{}, err
	}
	return o.openWithPassphrase(ctx, m, passphrase)
}

func (o *keyOptions) openWithPassphrase(ctx context.Context, m media.Medium, passphrase string) (keyring.Master, error) {
	id, err := keyring.PassphraseIdentity(passphrase)
	if err != nil {
		return keyring.Master{}, err
	}
	o.used = []keyring.Identity{id}
	return keyring.Open(ctx, m, id)
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
	return keyring.ReadIdentityFile(path)
}

// recipient is for whom a new store's key is sealed: a passphrase if one is given, else the user's
// identity, which is made if there is none. Made tells that it was.
func (o *keyOptions) recipient(ctx context.Context) (r keyring.Recipient, made string, err error) {
	passphrase, given, err := o.passphrase(ctx, true)
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
		if ids, isNew, err = keyring.EnsureIdentityFile(path); isNew {
			made = path
		}
	} else {
		ids, err = keyring.ReadIdentityFile(path)
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

// passphrase takes it from where the options say. A new one that is typed in is asked for twice.
func (o *keyOptions) passphrase(ctx context.Context, isNew bool) (passphrase string, given bool, err error) {
	var text []byte
	switch {
	case o.passphraseFile != "":
		if text, err = os.ReadFile(o.passphraseFile); err != nil {
			return "", false, fmt.Errorf("read the passphrase: %w", err)
		}
	case o.passphraseCommand != "":
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", o.passphraseCommand)
		cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
		if text, err = cmd.Output(); err != nil {
			return "", false, fmt.Errorf("passphrase command: %w", err)
		}
	case o.ask:
		passphrase, err = prompt("Passphrase: ")
		if err == nil && isNew {
			err = confirm(passphrase)
		}
		return passphrase, true, err
	default:
		return "", false, nil
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	passphrase = strings.TrimSuffix(string(line), "\r")
	if passphrase == "" {
		return "", false, fmt.Errorf("%w: the passphrase is empty", errNoKey)
	}
	return passphrase, true, nil
}

func confirm(passphrase string) error {
	again, err := prompt("Once more: ")
	if err == nil && again != passphrase {
		err = fmt.Errorf("%w: the two passphrases differ", errUsage)
	}
	return err
}

func interactive() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

func prompt(what string) (string, error) {
	if !interactive() {
		return "", fmt.Errorf("%w: there is no terminal to ask for a passphrase on", errNoKey)
	}
	fmt.Fprint(os.Stderr, what)
	text, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	if len(text) == 0 {
		return "", fmt.Errorf("%w: the passphrase is empty", errNoKey)
	}
	return string(text), nil
}
