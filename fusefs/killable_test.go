package fusefs

import (
	"context"
	"os/exec"
	"testing"
)

// TestKillable signals a request whose process lives, then kills the process.
func TestKillable(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	if dying(pid) {
		t.Error("a living process is dying")
	}
	cancel := make(chan struct{})
	k := &killable{Context: t.Context(), cancel: cancel, pid: pid}
	if k.Err() != nil || k.started.Load() {
		t.Errorf("ended with %v, or watches though nobody waits", k.Err())
	}
	done := k.Done()
	close(cancel)
	if err := k.Err(); err != nil {
		t.Errorf("a mere signal ended it: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	<-done
	if k.Err() != context.Canceled {
		t.Errorf("ended with %v", k.Err())
	}
	k.end()
}

func TestKillableEndsWithMount(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	k := &killable{Context: ctx, cancel: make(chan struct{})}
	done := k.Done()
	stop()
	<-done
	k.end()

	idle := &killable{Context: ctx}
	idle.end()
	if idle.Err() != context.Canceled {
		t.Errorf("Err = %v", idle.Err())
	}
}
