package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"coffer/media"
	"coffer/media/dir"
	"coffer/media/keyring"
	"coffer/pipeline/channel"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Change who opens a store, or bring its key to another machine",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyList(), newKeyAdd(), newKeyRemove(), newKeyChange(), newKeyExport(), newKeyImport())
	return cmd
}

type keyCommand struct {
	volumeOptions
	out io.Writer
}

func newKeyExport() *cobra.Command {
	var o keyCommand
	cmd := &cobra.Command{
		Use:   "export STORE",
		Short: "Print the recovery key, which opens the store by itself",
		Long: `Export prints the recovery key of STORE, a directory or the address of a server, to standard output. Whoever has
it can read everything: write it to a file that only you can read, and hand it over in secret.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.OutOrStdout()
			return o.export(cmd.Context())
		},
	}
	o.key.add(cmd.Flags())
	return cmd
}

func (o *keyCommand) export(ctx context.Context) (err error) {
	m, err := o.keys(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	master, err := o.key.unlock(ctx, m)
	if err != nil {
		return fmt.Errorf("%s: %w", o.displayed(), err)
	}
	_, err = fmt.Fprintln(o.out, master.Recovery())
	return err
}

func newKeyImport() *cobra.Command {
	var o keyCommand
	cmd := &cobra.Command{
		Use:   "import ADDRESS RECOVERY-KEY-FILE",
		Short: "Use a recovery key for a store on a server",
		Long: `Import seals the recovery key in a file, - for standard input, for your identity on this machine or for a passphrase,
so that this machine opens what was stored with it on the server ADDRESS. The server has to let this machine in:
'coffer invite --with' there.`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.ErrOrStderr()
			return o.take(cmd.Context(), args[1], cmd.InOrStdin())
		},
	}
	o.key.add(cmd.Flags())
	return cmd
}

func (o *keyCommand) take(ctx context.Context, path string, stdin io.Reader) (err error) {
	if !isAddress(o.store) {
		return fmt.Errorf("%w: a store in a directory has its key with it", errUsage)
	}
	const most = 4096
	var text []byte
	if path == "-" {
		text, err = io.ReadAll(io.LimitReader(stdin, most))
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return fmt.Errorf("read the recovery key: %w", err)
	}
	master, err := keyring.ParseRecovery(string(text))
	if err != nil {
		return err
	}
	m, err := o.keys(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	recipient, _, err := o.key.recipient(ctx)
	if err != nil {
		return err
	}
	err = keyring.Create(ctx, m, master, recipient)
	if errors.Is(err, media.ErrExist) {
		return fmt.Errorf("this machine has a key for %s already: %w", o.displayed(), err)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "This machine now has the key for %s.\n", o.displayed())
	return err
}

// keys is where the sealed key of the store is.
func (o *keyCommand) keys(ctx context.Context) (media.Medium, error) {
	if !isAddress(o.store) {
		return dir.Open(o.store, dir.Options{})
	}
	address, err := channel.ParseAddress(o.store)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	link, err := openLink(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.displayed(), err)
	}
	id, err := storeAt(ctx, link)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.displayed(), err)
	}
	return serverKeys(id)
}
