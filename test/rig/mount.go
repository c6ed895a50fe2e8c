package rig

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Mount is a mounted volume whose process is a child of the test, so that it can be killed and waited for.
type Mount struct {
	Dir  string
	user *User
	cmd  *exec.Cmd
	log  *log
	done chan struct{}
	err  error // of the process, once done is closed

	dying atomic.Bool // was killed by Signal
}

// Mount mounts store at dir, which is made if it is missing, and returns when the mount is usable.
func (u *User) Mount(tb testing.TB, store, dir string, flags ...string) *Mount {
	tb.Helper()
	m, err := u.TryMount(tb, store, dir, flags...)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// TryMount is Mount for a mount that may fail. The error holds what the process printed.
func (u *User) TryMount(tb testing.TB, store, dir string, flags ...string) (*Mount, error) {
	tb.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	m := &Mount{Dir: dir, user: u, log: &log{}, done: make(chan struct{})}
	m.cmd = u.Coffer(append([]string{"mount", "--foreground", store, dir}, flags...)...)
	m.cmd.Stderr = m.log
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewReader(stdout)
		line, err := lines.ReadString('\n')
		ready <- err == nil && strings.Contains(line, "mounted")
		io.Copy(m.log, lines)
		m.err = m.cmd.Wait()
		close(m.done)
	}()
	if !<-ready {
		m.cmd.Process.Kill()
		<-m.done
		m.detach()
		return nil, fmt.Errorf("mount %s at %s: %v\n%s", store, dir, m.err, m.Log())
	}
	tb.Cleanup(func() {
		m.Kill()
		if tb.Failed() && m.Log() != "" {
			tb.Logf("log of the mount at %s:\n%s", dir, m.Log())
		}
	})
	return m, nil
}

// Unmount unmounts in order; a failure ends the test.
func (m *Mount) Unmount(tb testing.TB) {
	tb.Helper()
	m.user.Run(tb, "umount", m.Dir)
	<-m.done
	if m.err != nil {
		tb.Fatalf("the mount's process ended with %v\n%s", m.err, m.Log())
	}
}

// Sync is coffer sync of the mount.
func (m *Mount) Sync(tb testing.TB) {
	tb.Helper()
	m.user.Run(tb, "sync", m.Dir)
}

// Signal sends SIGKILL and returns at once; the process may be dying still.
func (m *Mount) Signal() {
	m.dying.Store(true)
	m.cmd.Process.Kill()
}

// Dying says whether Signal was called.
func (m *Mount) Dying() bool { return m.dying.Load() }

// Kill ends the process with SIGKILL, waits for its end and takes the dead mount away. It may be
// called more than once, and after Unmount.
func (m *Mount) Kill() {
	m.cmd.Process.Kill()
	<-m.done
	m.detach()
}

// Pid is the process that serves the mount.
func (m *Mount) Pid() int { return m.cmd.Process.Pid }

// Log is what the process printed so far.
func (m *Mount) Log() string { return m.log.String() }

// Done is closed when the process has ended.
func (m *Mount) Done() <-chan struct{} { return m.done }

// Path is a path in the mount.
func (m *Mount) Path(parts ...string) string {
	return filepath.Join(append([]string{m.Dir}, parts...)...)
}

func (m *Mount) detach() {
	for unix.Unmount(m.Dir, unix.MNT_DETACH) == nil {
	}
}

// log collects what a process prints while others read it.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Watch gives the mount a time in which to be done. A process that is not is made to print its
// goroutines and to end, so that a deadlock is a failed test with a trace and not a test that hangs.
func (m *Mount) Watch(tb testing.TB, within time.Duration) {
	var late atomic.Bool
	timer := time.AfterFunc(within, func() {
		select {
		case <-m.done: // and the test goes on
		default:
			late.Store(true)
			m.cmd.Process.Signal(unix.SIGQUIT)
		}
	})
	tb.Cleanup(func() {
		timer.Stop()
		if late.Load() {
			tb.Errorf("the mount was not done within %v; its log has the goroutines", within)
		}
	})
}

// Memory reads what the process holds of its own and shared, RssAnon and RssShmem, in bytes.
func (m *Mount) Memory(tb testing.TB) int64 {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.Pid()))
	Must(tb, err)
	var sum int64
	for line := range strings.Lines(string(status)) {
		var kib int64
		for _, key := range []string{"RssAnon:", "RssShmem:"} {
			if rest, ok := strings.CutPrefix(line, key); ok {
				fmt.Sscan(rest, &kib)
				sum += kib << 10
			}
		}
	}
	return sum
}
