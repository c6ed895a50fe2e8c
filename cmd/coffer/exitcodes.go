package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"coffer/fusefs"
	"coffer/index"
	"coffer/media"
	"coffer/media/keyring"
	"coffer/media/remote"
	"coffer/pipeline/agent"
	"coffer/pipeline/channel"
	"coffer/pipeline/mover"
	"coffer/pipeline/stage"
)

// What only the command line can find wrong.
var (
	errUsage      = errors.New("usage")
	errIncomplete = errors.New("not everything was stored")
	errUnrestored = errors.New("not everything was restored")
	errNoKey      = errors.New("no key to open the store with")
	errStoreThere = errors.New("not a place for a new store")
	errNoPath     = errors.New("no such file in the volume")
	errNotMounted = errors.New("no coffer volume is mounted there")
	errLost       = errors.New("not everything reached the store")
	errFound      = errors.New("not everything is as it was written")
	errStays      = errors.New("the mount stays")
	errReadOnly   = errors.New("the mount is read-only")
)

// exitCode says how the program ends when an error is one of errs. What went wrong is in the error's own
// text; advice says what to do.
type exitCode struct {
	code   int
	when   string
	errs   []error
	advice string
}

// exitCodes is the promise to scripts: a number keeps its meaning. The first row that fits counts, so what
// is more particular stands first.
var exitCodes = []exitCode{
	{0, "done", nil, ""},
	{1, "something else went wrong; the message says what", nil, ""},
	{2, "a mistake in the command line", []error{errUsage}, "`coffer help` shows how each command is used."},
	{3, "put: some files were not stored, or changed while they were read; the rest was stored", []error{errIncomplete},
		"Each of them was named above. Put again to complete them."},
	{3, "restore, dump: some files are damaged, or in the way; the rest was restored", []error{errUnrestored},
		"Each of them was named above. `coffer history` shows whether another archive has them."},
	{10, "the key or passphrase given is not that of this store", []error{keyring.ErrWrongKey},
		"Give the identity file with --identity, a passphrase with --passphrase-file, or the recovery key with --recovery-key-file."},
	{11, "no key or passphrase was given and there is none in the configuration folder", []error{errNoKey},
		"Give --identity, --passphrase-file, --passphrase-command or --recovery-key-file."},
	{12, "there is no store at that place", []error{media.ErrNoStore, keyring.ErrNoKey},
		"Is its disk mounted? `coffer init` makes a new store."},
	{13, "init: there is a store already, or the directory is not empty", []error{errStoreThere},
		"Give a directory that is empty or does not exist."},
	{14, "the mount point is missing or not a directory", []error{fusefs.ErrNotDirectory}, "Make the directory first."},
	{15, "the mount point is in use: something is mounted there", []error{fusefs.ErrMounted}, "Choose another directory, or unmount it."},
	{16, "the mount point is stale: the program that served it has ended", []error{fusefs.ErrStale},
		"`fusermount3 -uz MOUNTPOINT` takes the dead mount away; then mount again. All that was acknowledged is there."},
	{17, "the volume is open for writing already", []error{media.ErrLocked, index.ErrLocked},
		"One process at a time writes a volume. `coffer status` shows what is mounted."},
	{18, "the system offers no FUSE, or not to this user", []error{fusefs.ErrNoFuse}, ""},
	{19, "the store was rolled back, cut short or forked", []error{mover.ErrRolledBack, mover.ErrForked, mover.ErrCut},
		"Look for the right copy of the store. --accept-rollback goes on with this one; what it lacks is then lost."},
	{20, "nothing of coffer's is mounted there", []error{errNotMounted}, "`coffer status` shows what is mounted."},
	{28, "there is no such file or directory in the volume, at that time", []error{errNoPath}, "`coffer find` lists what there is, `coffer history` what there was."},
	{21, "umount: the mount is in use", []error{unix.EBUSY},
		"Some program has a file or its working directory there; `fuser -vm MOUNTPOINT` names it. The mount goes on."},
	{24, "what had been written did not all reach the store", []error{errLost}, "Keep the originals. `coffer status` and the log say what failed."},
	{22, "the store's medium is full", []error{media.ErrFull, unix.ENOSPC}, "Make room on it; what is pending is kept and goes on by itself."},
	{23, "the store is damaged", []error{mover.ErrDamaged, stage.ErrDamaged, keyring.ErrDamaged, media.ErrStoreFormat},
		"Use another copy of the store if there is one. `coffer rebuild` reads all that can be read."},
	{25, "the mount point is not empty", []error{fusefs.ErrNotEmpty}, "Choose another directory, or clear this one."},
	{26, "the server does not let this machine in, or is not the one that it was",
		[]error{channel.ErrRefused, channel.ErrUnknownServer}, "`coffer invite` on the server makes an invitation; it is used once, in place of the address."},
	{27, "the server does not answer", []error{channel.ErrAway, agent.ErrAway, remote.ErrAway},
		"Is it running, and is the network there? What was written before is safe there."},
	{29, "the mount given is read-only", []error{errReadOnly}, "Give the mount that writes the volume, or the store if there is none."},
	{30, "scrub, check: damage was found", []error{errFound},
		"Bring the damaged chunks back from a copy of the store if there is one; copy in again the files whose reads fail."},
	{130, "interrupted", []error{context.Canceled}, ""},
}

// explain gives the exit code of an error, and what to do about it.
func explain(err error) (code int, advice string) {
	var said *daemonError
	if errors.As(err, &said) {
		return said.Code, said.Advice
	}
	for _, row := range exitCodes {
		for _, e := range row.errs {
			if errors.Is(err, e) {
				return row.code, row.advice
			}
		}
	}
	return 1, ""
}

func newExitCodes() *cobra.Command {
	var b strings.Builder
	b.WriteString("A command's exit code says what happened; the numbers do not change.\n\n")
	for _, row := range slices.SortedFunc(slices.Values(exitCodes), func(a, b exitCode) int { return a.code - b.code }) {
		fmt.Fprintf(&b, "%4d  %s\n", row.code, row.when)
	}
	return &cobra.Command{Use: "exit-codes", Short: "What exit codes mean", Long: b.String()}
}
