package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/pipeline/channel"
)

type inviteOptions struct {
	store, name string
	rights      channel.Rights
	quota       byteSize
	expires     time.Duration
	address     string
	out, notes  io.Writer
}

func newInvite() *cobra.Command {
	var o inviteOptions
	cmd := &cobra.Command{
		Use:   "invite STORE NAME",
		Short: "Let another machine store in a store that is served here",
		Long: `Invite prints an invitation for one machine, which the store's server then knows as NAME. On that machine,
'coffer mount INVITATION MOUNTPOINT' uses it. It is good for one machine, once, and for a day.`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.name = args[0], args[1]
			o.out, o.notes = cmd.OutOrStdout(), cmd.ErrOrStderr()
			o.rights.Quota = uint64(o.quota)
			return runInvite(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.rights.AppendOnly, "append-only", false, "nothing that was stored can be removed, replaced or passed over on the machine's word")
	flags.IntVar(&o.rights.MaxVolumes, "volumes", 1, "`number` of volumes that the machine may make")
	flags.Var(&o.quota, "quota", "`size` that the machine may take on the store's medium, like 100G")
	flags.StringSliceVar(&o.rights.With, "with", nil, "`names` of machines whose volumes this one may use too, one of them writing at a time")
	flags.DurationVar(&o.expires, "expires", 24*time.Hour, "how long the invitation is good for")
	flags.StringVar(&o.address, "address", "", "`host:port` at which the machine finds this server, where that is not the host's name")
	return cmd
}

func runInvite(ctx context.Context, o inviteOptions) (err error) {
	s, err := openServed(ctx, o.store, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.medium.Close()) }()
	id, err := s.identity()
	if err != nil {
		return err
	}
	address, err := s.publicAddress(o.address)
	if err != nil {
		return err
	}
	secret, err := s.registry.Invite(o.name, o.rights, time.Now().Add(o.expires))
	if err != nil {
		return err
	}
	address.Invitation = &channel.Invitation{Server: id.Key(), Secret: secret}
	fmt.Fprintf(o.notes, "Whoever has this invitation can store here as %s, once, for %v. Hand it over in secret:\n", o.name, o.expires)
	_, err = fmt.Fprintln(o.out, address.Invite())
	return err
}

// publicAddress is where other machines find the server: as the user says, or where it last listened.
func (s *served) publicAddress(given string) (channel.Address, error) {
	if given == "" {
		b, err := os.ReadFile(s.addressFile())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return channel.Address{}, fmt.Errorf("find where the server listens: %w", err)
		}
		host, port, err := net.SplitHostPort(strings.TrimSpace(string(b)))
		if err != nil {
			host, port = "", channel.DefaultPort
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			if host, err = os.Hostname(); err != nil {
				return channel.Address{}, fmt.Errorf("find this host's name: %w", err)
			}
		}
		given = net.JoinHostPort(host, port)
	}
	return channel.ParseAddress(channel.Scheme + given)
}

func newClients() *cobra.Command {
	return &cobra.Command{
		Use:   "clients STORE",
		Short: "List the machines that may store in a store that is served here",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runClients(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
}

func runClients(ctx context.Context, store string, out io.Writer) (err error) {
	s, err := openServed(ctx, store, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.medium.Close()) }()
	all, err := s.registry.Clients()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range all {
		var notes []string
		if c.Revoked {
			notes = append(notes, "revoked")
		}
		if c.AppendOnly {
			notes = append(notes, "append-only")
		}
		if c.MaxVolumes > 1 {
			notes = append(notes, fmt.Sprintf("%d volumes", c.MaxVolumes))
		}
		if n := len(c.Branches); n > 0 {
			notes = append(notes, fmt.Sprintf("%d branches", n))
		}
		if c.Quota > 0 {
			notes = append(notes, "at most "+humanize.IBytes(c.Quota))
		}
		fmt.Fprintf(w, "%s\t%s\tsince %s\t%s\n", c.Name, c.Key, c.Since.Format(time.DateOnly), strings.Join(notes, ", "))
	}
	return w.Flush()
}

func newRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke STORE NAME",
		Short: "Shut a machine out of a store that is served here",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServed(cmd.Context(), args[0], false)
			if err != nil {
				return err
			}
			return errors.Join(s.registry.Revoke(args[1]), s.medium.Close())
		},
	}
}
