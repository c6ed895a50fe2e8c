package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"coffer/fusefs/walk"
	"coffer/pipeline/channel"
)

type putOptions struct {
	volumeOptions
	request putRequest
}

func newPut() *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put SRC… STORE[:/PATH]",
		Short: "Store files and directories without a mount",
		Long: `Put stores each SRC below PATH in a volume, as cp -a would; SRC/ is the contents of a directory. What has
not changed since the last put is not read again. If the volume is mounted on this machine, the
process that serves the mount does the work.`,
		Args: usage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.store, o.request.Target = cutTarget(args[len(args)-1])
			o.request.Sources, o.notes = args[:len(args)-1], cmd.ErrOrStderr()
			return runPut(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	o.add(flags)
	o.addLimits(flags)
	o.buffers = 0
	buffers := flags.Lookup("buffers")
	buffers.Usage, buffers.DefValue = buffers.Usage+"; 0: as few as do", "0"
	flags.BoolVar(&o.request.Delete, "delete", false, "remove from PATH what the sources do not have")
	flags.StringArrayVar(&o.request.Exclude, "exclude", nil, "leave out what matches a `pattern` as of .gitignore")
	flags.StringArrayVar(&o.request.ExcludeFiles, "exclude-from", nil, "`file` of such patterns")
	return cmd
}

func runPut(ctx context.Context, o *putOptions) error {
	if err := o.request.absolute(); err != nil {
		return err
	}
	var last putLine
	tell := func(line putLine) {
		last = line
		if line.Problem != "" {
			fmt.Fprintln(o.notes, line.Problem)
		}
	}
	there, err := mountedHere(o.store, o.name)
	if err != nil {
		return err
	}
	if there != nil {
		err = there.put(ctx, o.request, tell)
	} else {
		err = putDirectly(ctx, o, tell)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(o.notes, "%d files stored (%s), %d unchanged, %d removed\n", last.Stored, humanize.IBytes(last.Bytes), last.Unchanged, last.Removed)
	if last.Problems > 0 {
		return fmt.Errorf("%w: %d sources are missing or not as they should be", errIncomplete, last.Problems)
	}
	return nil
}

// cutTarget divides STORE:/PATH. An address of a server has slashes of its own.
func cutTarget(arg string) (store, target string) {
	scheme := ""
	if isAddress(arg) {
		scheme, arg = channel.Scheme, arg[len(channel.Scheme):]
	}
	store, target, _ = strings.Cut(arg, ":/")
	return scheme + store, target
}

// putDirectly opens the volume in this process.
func putDirectly(ctx context.Context, o *putOptions, tell func(putLine)) error {
	s, err := openStore(ctx, &o.volumeOptions, o.unlocked)
	if err != nil {
		return err
	}
	spareMemory(&o.volumeOptions, walk.DefaultParallel())
	// What was stored when the user interrupts stays, so the session ends in order.
	lasting := context.WithoutCancel(ctx)
	v, err := openVolume(lasting, s, &o.volumeOptions, "a put")
	if err != nil {
		return errors.Join(err, s.close())
	}
	result, err := walk.Put(ctx, v.tree, o.request.options(nil, s.path), func(p walk.Progress) { tell(putLineOf(p)) })
	tell(putLine{Counts: result.Counts, Done: err == nil})
	return errors.Join(err, v.close(lasting))
}

// putLine is a line of a put's progress, between processes too.
type putLine struct {
	walk.Counts
	Path    string `json:"path,omitempty"`
	Problem string `json:"problem,omitempty"`
	Done    bool   `json:"done,omitempty"`
}

func putLineOf(p walk.Progress) putLine {
	line := putLine{Counts: p.Counts, Path: p.Path}
	if p.Problem != nil {
		line.Problem = p.Problem.Error()
	}
	return line
}

// absolute makes the paths of a request independent of the working directory. A slash at the end of a
// source has a meaning and stays.
func (r *putRequest) absolute() error {
	for _, paths := range [][]string{r.Sources, r.ExcludeFiles} {
		for i, path := range paths {
			abs, err := filepath.Abs(path)
			if err != nil {
				return fmt.Errorf("find %s: %w", path, err)
			}
			for _, contents := range []string{"/", "/.", "/.."} {
				if strings.HasSuffix(path, contents) || path == contents[1:] {
					abs = strings.TrimSuffix(abs, "/") + "/"
					break
				}
			}
			paths[i] = abs
		}
	}
	return nil
}

// options are the walk's. Kernel is a mount of the same volume, or nil; skip is where it is.
func (r *putRequest) options(kernel walk.Kernel, skip ...string) walk.Options {
	return walk.Options{
		Sources: r.Sources, Target: r.Target, Delete: r.Delete,
		Exclude: r.Exclude, ExcludeFiles: r.ExcludeFiles,
		Skip: skip, Kernel: kernel,
		Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()),
	}
}
