package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"coffer/fusefs"
	"coffer/fusefs/past"
	"coffer/media"
	"coffer/pipeline/monitor"
)

type mountOptions struct {
	volumeOptions
	mountPoint string
	foreground bool
	allowOther bool
	writeback  bool
	readAhead  byteSize
	readOnly   bool
	when       string // an archive; empty: what there is now
	handoff    bool
	given      *pflag.FlagSet // what was asked for, for the process in the background
	out        io.Writer
}

func newMount() *cobra.Command {
	o := mountOptions{readAhead: 4 << 20}
	cmd := &cobra.Command{
		Use:   "mount STORE MOUNTPOINT",
		Short: "Mount a volume of a store",
		Long: `Mount mounts a volume of STORE on the empty directory MOUNTPOINT and returns when it can be used. What
is copied into it is stored. It goes on in the background until it is unmounted.

STORE is a directory, or the address of a server like coffer://host:7433; the first time, the invitation that
'coffer invite' printed there.

With --read-only, or --at an archive, nothing can be changed, and any number of mounts, here and on other machines, go
beside the one that writes. What is shown follows the volume within some seconds; an archive stays as it is.

The index of the volume is kept in the state folder, never in the store; where there is none, it is made
anew from the store.`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.mountPoint, o.out = args[0], args[1], cmd.OutOrStdout()
			o.notes, o.given = cmd.ErrOrStderr(), cmd.Flags()
			if err := o.check(); err != nil {
				return err
			}
			return runMount(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	o.add(flags)
	o.addLimits(flags)
	flags.BoolVar(&o.readOnly, "read-only", false, "change nothing, and follow what the one that writes does")
	flags.StringVar(&o.when, "at", "", "`archive` to mount, read-only: its name or label, or a time")
	flags.BoolVar(&o.foreground, "foreground", false, "stay; log to standard error")
	flags.BoolVar(&o.noAtime, "noatime", false, "reads leave access times alone; else as with relatime")
	flags.DurationVar(&o.archiveEvery, "archive-every", time.Hour, "seal an archive this long after the last one, if anything has changed; 0: only when asked for and at the end")
	flags.BoolVar(&o.allowOther, "allow-other", false, "let other users in; permissions are checked")
	flags.BoolVar(&o.writeback, "writeback", false, "let the kernel gather writes: faster in small pieces, but after a crash the order of what was not synced is lost")
	flags.Var(&o.readAhead, "read-ahead", "how much the kernel reads ahead of a sequential reader; only root can set it")
	flags.BoolVar(&o.handoff, "handoff", false, "take the key from, and report to, the process that started this one")
	flags.MarkHidden("handoff") // fails only for a flag that is not there
	return cmd
}

// check refuses what contradicts itself. An archive without a name, perhaps a variable that is not set, is not the volume.
func (o *mountOptions) check() error {
	if o.given.Changed("at") && o.when == "" {
		return fmt.Errorf("%w: --at names no archive", errUsage)
	}
	if !o.readOnly && o.when == "" {
		return nil
	}
	for _, flag := range []string{"archive-every", "noatime", "writeback", "spool", "buffers", "agents"} {
		if o.given.Changed(flag) {
			return fmt.Errorf("%w: --%s is for a mount that writes", errUsage, flag)
		}
	}
	return nil
}

func runMount(ctx context.Context, o *mountOptions) error {
	if o.handoff {
		return runMountHandedOff(ctx, o)
	}
	if !o.foreground {
		return mountInBackground(ctx, o)
	}
	s, err := openStore(ctx, &o.volumeOptions, o.unlocked)
	if err != nil {
		return err
	}
	return serveMount(ctx, o, s, func() {
		fmt.Fprintf(o.out, "%s is mounted at %s\n", o.displayed(), o.mountPoint)
	})
}

// runMountHandedOff is the mount in the background: its key comes through a pipe, its success or
// failure goes back through another.
func runMountHandedOff(ctx context.Context, o *mountOptions) error {
	h := inheritHandoff()
	var notes strings.Builder
	o.notes = io.MultiWriter(o.notes, &notes)
	s, err := openStore(ctx, &o.volumeOptions, func(context.Context, media.Medium) ([32]byte, error) { return h.key() })
	if err == nil {
		err = serveMount(ctx, o, s, func() { h.ready(notes.String()) })
	}
	// Once the other process has gone, the log is all that is left to tell.
	if !h.failed(err) {
		return err
	}
	return nil
}

// serveMount opens the volume, mounts it and serves it until it is unmounted, by whatever way. Ready is
// called when the mount can be used.
func serveMount(ctx context.Context, o *mountOptions, s *opened, ready func()) (err error) {
	if o.readOnly || o.when != "" {
		return serveReadOnly(ctx, o, s, ready)
	}
	// What serves the mount must outlive the signal that asks for its end.
	lasting := context.WithoutCancel(ctx)
	v, err := openVolume(lasting, s, &o.volumeOptions, fmt.Sprintf("the mount at %s", o.mountPoint))
	if err != nil {
		return errors.Join(err, s.close())
	}
	if err := v.dropCopies(); err != nil {
		return errors.Join(err, v.close(lasting))
	}
	server, err := fusefs.Mount(lasting, o.mountPoint, v.tree, fusefs.Options{
		Source: s.path, AllowOther: o.allowOther, ReadaheadKiB: int(o.readAhead >> 10),
		Writeback: o.writeback, Log: slog.Default(),
		Snapshots: past.New(v.source.Index(), v.source.Groups()), Notices: noticesProcess,
	})
	if err != nil {
		return errors.Join(err, v.close(lasting))
	}
	v.care.renamed = func(name string) { server.EntryChanged(snapshotsDir, name) }
	v.takeCare()
	c := newControl(v, server)
	socket, err := monitor.Listen(c, monitor.Info{
		MountPoint: server.Dir(), Store: s.path, Volume: v.name, Pid: os.Getpid(), Started: time.Now(),
	})
	if err != nil {
		return errors.Join(err, server.Detach(), v.close(lasting))
	}
	ready()
	err = c.serve(ctx)
	return errors.Join(err, socket.Close())
}
