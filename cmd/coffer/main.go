// Command coffer is the command line of Coffer, an archive that is a file system. It parses flags,
// finds folders and keys, puts the packages together and turns errors into exit codes; whatever a test
// would want to call is in those packages and not here.
//
// One file is one command: a constructor, its options and a run function. exitcodes.go is the one
// table from errors to exit codes; volume.go puts a volume together, control.go is what a mounted one
// answers to other coffer processes. Start reading at mount.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set when a release is linked.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := newRoot().ExecuteContext(ctx)
	if err == nil {
		return
	}
	code, advice := explain(err)
	var said *daemonError
	if !errors.As(err, &said) || said.Message != "" {
		fmt.Fprintf(os.Stderr, "coffer: %v\n", err)
	}
	if advice != "" {
		fmt.Fprintln(os.Stderr, advice)
	}
	os.Exit(code)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "coffer",
		Short: "An archive that is a file system",
		Long: `Coffer keeps what is copied into a mounted directory: cut into blocks, deduplicated,
compressed, sealed and stored. Browsing the mount is the restore.

  coffer init STORE                make a store in a directory
  coffer mount STORE MOUNTPOINT    mount it; copy files in
  coffer umount MOUNTPOINT         seal the archive and unmount
  coffer serve STORE               let other machines store there`,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(
		newInit(), newMount(), newPut(), newStatus(), newSync(), newUmount(),
		newSnapshot(), newSnapshots(), newLs(), newCat(), newFind(), newHistory(), newDiff(),
		newRestore(), newDump(),
		newForget(), newPrune(),
		newRebuild(), newScrub(), newCheck(),
		newServe(), newInvite(), newClients(), newRevoke(), newApprove(),
		newKey(), newVersion(), newExitCodes(), newNotices(),
	)
	return root
}

// usage marks what an argument check has to say as a mistake of the command line.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w: %w; it is used so: %s", errUsage, err, cmd.UseLine())
		}
		return nil
	}
}
