package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"coffer/media"
	"coffer/media/keyring"
)

type keyAddOptions struct {
	keyCommand
	recipient     string
	recipientFile string
	passphrase    passphraseOptions
}

func newKeyAdd() *cobra.Command {
	var o keyAddOptions
	cmd := &cobra.Command{
		Use:   "add STORE [PUBLIC-KEY]",
		Short: "Let one more key, or a passphrase, open a store",
		Long: `Add seals the key of STORE, a directory or the address of a server, for one more recipient: PUBLIC-KEY, which is an
age or SSH public key (age1…, ssh-ed25519 …, ssh-rsa …), a passphrase, or without either, your identity on this
machine, which is made if there is none. What is stored is not touched.

With --recovery-key-file, this is how you get in again when all else is lost.`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.ErrOrStderr()
			o.recipient = strings.Join(args[1:], "")
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	o.key.add(flags)
	o.key.addRecovery(flags)
	o.passphrase.add(flags, "new-", "new passphrase")
	flags.StringVar(&o.recipientFile, "recipient-file", "", "`file` with the public key, like id_ed25519.pub")
	flags.StringVar(&o.name, "volume", "main", "`name` of a volume by which a recovery key shows that it is this store's")
	cmd.MarkFlagsMutuallyExclusive("recipient-file", "new-passphrase-file", "new-passphrase-command", "new-passphrase")
	return cmd
}

func (o *keyAddOptions) run(ctx context.Context) (err error) {
	m, err := o.keys(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	to, err := o.addition(ctx)
	if err != nil {
		return err
	}
	err = o.key.with(ctx, func(ids ...keyring.Identity) error { return keyring.AddRecipient(ctx, m, to, ids...) })
	if err != nil && o.key.recoveryKeyFile != "" && unreadable(err) {
		return o.sealAnew(ctx, m, to, err)
	}
	if err != nil {
		return o.refused(err)
	}
	_, err = fmt.Fprintf(o.out, "The key of %s is sealed for %s too.\n", o.displayed(), shortKey(to.String()))
	return err
}

// addition is whom to add.
func (o *keyAddOptions) addition(ctx context.Context) (keyring.Recipient, error) {
	passphrase, given, err := o.passphrase.read(ctx, true)
	text := o.recipient
	switch {
	case err != nil:
		return keyring.Recipient{}, err
	case text != "" && (given || o.recipientFile != ""):
		return keyring.Recipient{}, fmt.Errorf("%w: one recipient at a time", errUsage)
	case given:
		return keyring.PassphraseRecipient(passphrase, 0)
	case o.recipientFile != "":
		b, err := os.ReadFile(o.recipientFile)
		if err != nil {
			return keyring.Recipient{}, fmt.Errorf("read the public key: %w", err)
		}
		text = string(b)
	case text == "":
		var own keyOptions
		to, made, err := own.recipient(ctx)
		if err == nil && made != "" {
			fmt.Fprintf(o.out, "A new identity is made, %s: keep a copy of that file.\n", made)
		}
		return to, err
	}
	to, err := keyring.ParseRecipient(text)
	if err != nil {
		err = fmt.Errorf("%w: %w", errUsage, err)
	}
	return to, err
}

// unreadable: what is sealed there tells a recovery key nothing, for it is damaged, or missing, or was sealed when
// recovery keys did not open it, or the recovery key is another store's.
func unreadable(err error) bool {
	return errors.Is(err, keyring.ErrWrongKey) || errors.Is(err, keyring.ErrDamaged) || errors.Is(err, keyring.ErrNoKey)
}

// sealAnew seals the recovery key for to alone, once it has shown that it is this store's.
func (o *keyAddOptions) sealAnew(ctx context.Context, m media.Medium, to keyring.Recipient, why error) error {
	s, err := openStore(ctx, &o.volumeOptions, o.unlocked)
	if err != nil {
		return errors.Join(err, why)
	}
	if err := s.close(); err != nil {
		return err
	}
	master, err := o.key.recoveryKey()
	if err == nil {
		err = keyring.Reseal(ctx, m, master, to)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.displayed(), err)
	}
	_, err = fmt.Fprintf(o.out, "The key of %s could not be read (%v). It is sealed for %s now, and for nobody else.\n",
		o.displayed(), why, shortKey(to.String()))
	return err
}
