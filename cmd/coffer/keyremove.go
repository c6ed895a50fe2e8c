package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"coffer/media/keyring"
)

type keyRemoveOptions struct {
	keyCommand
	recipient string
	force     bool
}

func newKeyRemove() *cobra.Command {
	var o keyRemoveOptions
	cmd := &cobra.Command{
		Use:   "remove STORE RECIPIENT",
		Short: "Let a key, or the passphrase, open a store no longer",
		Long: `Remove seals the key of STORE for one recipient less: a public key as 'coffer key list' shows it, or the beginning of
one, or "passphrase". What is stored is not touched.

This takes no knowledge back: whoever has opened the store once, or has a copy of its key as it was sealed, can open it
for ever.`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.recipient, o.out = args[0], args[1], cmd.ErrOrStderr()
			return o.run(cmd.Context())
		},
	}
	o.key.add(cmd.Flags())
	o.key.addRecovery(cmd.Flags())
	cmd.Flags().BoolVar(&o.force, "force", false, "the recovery key is at hand: remove also what opens the store here, or the last recipient")
	return cmd
}

func (o *keyRemoveOptions) run(ctx context.Context) (err error) {
	m, err := o.keys(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	var gone keyring.Recipient
	err = o.key.with(ctx, func(ids ...keyring.Identity) error {
		all, err := keyring.Recipients(ctx, m, ids...)
		if err != nil {
			return err
		}
		if gone, err = o.among(all); err != nil {
			return err
		}
		return keyring.RemoveRecipient(ctx, m, gone, o.force, ids...)
	})
	if errors.Is(err, keyring.ErrLockedOut) {
		return fmt.Errorf("%w: %s: %w; with the recovery key at hand, --force does it", errUsage, o.displayed(), err)
	}
	if err != nil {
		return o.refused(err)
	}
	_, err = fmt.Fprintf(o.out, "The key of %s is sealed for %s no longer.\n", o.displayed(), shortKey(gone.String()))
	return err
}

// among finds the one recipient that is meant.
func (o *keyRemoveOptions) among(all []keyring.Recipient) (keyring.Recipient, error) {
	var found []keyring.Recipient
	for _, r := range all {
		if named(r, o.recipient) {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		return keyring.Recipient{}, fmt.Errorf("%w: %d recipients are meant by %q; `coffer key list` shows them",
			errUsage, len(found), shortKey(o.recipient))
	}
	return found[0], nil
}
