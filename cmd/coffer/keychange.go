package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"coffer/media/keyring"
)

type keyChangeOptions struct {
	keyCommand
	passphrase passphraseOptions
}

func newKeyChange() *cobra.Command {
	var o keyChangeOptions
	cmd := &cobra.Command{
		Use:   "change STORE",
		Short: "Change the passphrase of a store",
		Long: `Change puts a new passphrase in the place of the one that opens STORE. The store is opened with the old one, with an
identity, or, if you have forgotten it, with the recovery key. What is stored is not touched.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.ErrOrStderr()
			return o.run(cmd.Context())
		},
	}
	o.key.add(cmd.Flags())
	o.key.addRecovery(cmd.Flags())
	o.passphrase.add(cmd.Flags(), "new-", "new passphrase")
	return cmd
}

func (o *keyChangeOptions) run(ctx context.Context) (err error) {
	m, err := o.keys(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	err = o.key.with(ctx, func(ids ...keyring.Identity) error {
		return keyring.ChangePassphrase(ctx, m, func() (keyring.Recipient, error) { return o.next(ctx) }, ids...)
	})
	if err != nil {
		return o.refused(err)
	}
	_, err = fmt.Fprintf(o.out, "The passphrase of %s is changed.\n", o.displayed())
	return err
}

func (o *keyChangeOptions) next(ctx context.Context) (keyring.Recipient, error) {
	o.passphrase.ask = o.passphrase.ask || interactive()
	passphrase, given, err := o.passphrase.read(ctx, true)
	if err == nil && !given {
		err = fmt.Errorf("%w: give the new passphrase with --new-passphrase-file or --new-passphrase-command", errUsage)
	}
	if err != nil {
		return keyring.Recipient{}, err
	}
	return keyring.PassphraseRecipient(passphrase, 0)
}

// refused says of which store a change of its recipients was refused, and that a recipient who is none is a mistake of
// the command line.
func (o *keyCommand) refused(err error) error {
	if errors.Is(err, keyring.ErrRecipient) {
		return fmt.Errorf("%w: %s: %w", errUsage, o.displayed(), err)
	}
	return fmt.Errorf("%s: %w", o.displayed(), err)
}
