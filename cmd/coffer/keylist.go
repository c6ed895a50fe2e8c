package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"coffer/media/keyring"
)

type keyListOptions struct {
	keyCommand
	json bool
}

func newKeyList() *cobra.Command {
	var o keyListOptions
	cmd := &cobra.Command{
		Use:   "list STORE",
		Short: "List for whom the key of a store is sealed",
		Long: `List shows the public keys for which the key of STORE is sealed, and whether a passphrase opens it. STORE is a
directory or the address of a server; a server has no key, so that shows who opens what this machine stores there.
The recovery key opens it always.`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.out = args[0], cmd.OutOrStdout()
			return o.run(cmd.Context())
		},
	}
	o.key.add(cmd.Flags())
	o.key.addRecovery(cmd.Flags())
	cmd.Flags().BoolVar(&o.json, "json", false, "print an array, for programs")
	return cmd
}

// recipientStatus is what key list --json prints of a recipient.
type recipientStatus struct {
	Recipient string `json:"recipient"` // the public key, or "passphrase"
	Here      bool   `json:"here"`      // it is what opened the store for this list
}

func (o *keyListOptions) run(ctx context.Context) (err error) {
	m, err := o.keys(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	all := []recipientStatus{}
	err = o.key.with(ctx, func(ids ...keyring.Identity) error {
		recipients, err := keyring.Recipients(ctx, m, ids...)
		for _, r := range recipients {
			s := recipientStatus{Recipient: r.String()}
			for _, id := range ids {
				s.Here = s.Here || id.Is(r)
			}
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", o.displayed(), err)
	}
	if o.json {
		return printObject(o.out, all)
	}
	for _, s := range all {
		here := ""
		if s.Here {
			here = "  opens it here"
		}
		if _, err := fmt.Fprintf(o.out, "%s%s\n", shortKey(s.Recipient), here); err != nil {
			return err
		}
	}
	return nil
}

// shortKey leaves the middle of long public keys out: some have 2,000 letters.
func shortKey(text string) string {
	const most, begin, end = 80, 24, 12
	fields := strings.Fields(text)
	for i, f := range fields {
		if len(f) > most {
			fields[i] = f[:begin] + "…" + f[len(f)-end:]
		}
	}
	return strings.Join(fields, " ")
}

// named tells whether text names a recipient: as list shows it, or by its beginning.
func named(r keyring.Recipient, text string) bool {
	return text != "" && (strings.HasPrefix(r.String(), text) || strings.HasPrefix(shortKey(r.String()), text))
}
