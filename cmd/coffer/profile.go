//go:build profile

package main

import (
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"

	"golang.org/x/sys/unix"
)

// init profiles a build with the tag profile: SIGUSR1 begins a processor profile in the file that
// COFFER_PROFILE names, SIGUSR2 ends it and writes one of the heap beside it.
func init() {
	name := os.Getenv("COFFER_PROFILE")
	if name == "" {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for s := range signals {
			if err := profile(name, s == unix.SIGUSR1); err != nil {
				slog.Error("profiling failed", "file", name, "err", err)
			}
		}
	}()
}

func profile(name string, begin bool) error {
	if begin {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		return pprof.StartCPUProfile(f)
	}
	pprof.StopCPUProfile()
	f, err := os.Create(name + ".heap")
	if err != nil {
		return err
	}
	defer f.Close()
	return pprof.Lookup("heap").WriteTo(f, 0)
}
