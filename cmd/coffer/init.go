package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"coffer/media"
	"coffer/media/dir"
	"coffer/media/keyring"
)

type initOptions struct {
	store string
	key   keyOptions
	out   io.Writer // the recovery key
	notes io.Writer // everything else
}

func newInit() *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init STORE",
		Short: "Make a store in a directory",
		Long: `Init makes a store in the directory STORE, which must be empty or not exist yet.

The store's key is sealed for your identity, in the configuration folder, which is made if there is
none; or for a passphrase. The recovery key, which opens the store when both are lost, is printed
once: write it down and keep it in another place.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out, o.notes = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runInit(cmd.Context(), o)
		},
	}
	o.key.add(cmd.Flags())
	return cmd
}

func runInit(ctx context.Context, o initOptions) error {
	if err := checkVacant(o.store); err != nil {
		return err
	}
	recipient, made, err := o.key.recipient(ctx)
	if err != nil {
		return err
	}
	m, err := dir.Open(o.store, dir.Options{Create: true})
	if err != nil {
		return err
	}
	defer m.Close()
	master := keyring.NewMaster()
	// The store file comes last: it is what makes the directory a store, and there is no store without a key.
	if err := keyring.Create(ctx, m, master, recipient); err != nil {
		return err
	}
	if _, err := media.CreateStore(ctx, m); err != nil {
		return err
	}
	fmt.Fprintf(o.notes, "The store %s is made.\n", o.store)
	if made != "" {
		fmt.Fprintf(o.notes, "Its key is sealed for a new identity, %s: keep a copy of that file.\n", made)
	}
	fmt.Fprintln(o.notes, "This is the recovery key. It is not shown again and opens the store by itself:")
	_, err = fmt.Fprintln(o.out, master.Recovery())
	return err
}

func checkVacant(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", errStoreThere, err)
	}
	for _, e := range entries {
		if e.Name() == media.StoreName {
			return fmt.Errorf("%s: %w: it is a store already", path, errStoreThere)
		}
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s: %w: the directory is not empty", path, errStoreThere)
	}
	return nil
}
