package rig

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Server is a store that is served; its process is a child of the test.
type Server struct {
	Store   string
	Address string // host:port that it listens at
	user    *User
	flags   []string
	cmd     *exec.Cmd
	log     *log
	done    chan struct{}
}

// Serve serves store, which is made if it is missing, at a port of its own, and returns when it listens.
func (u *User) Serve(tb testing.TB, store string, flags ...string) *Server {
	tb.Helper()
	ip := "127.0.0.1"
	if u.Host != nil {
		ip = u.Host.IP
	}
	s := &Server{Store: store, Address: ip + ":0", user: u, flags: flags, log: &log{}}
	Must(tb, s.Start())
	tb.Cleanup(func() {
		s.Kill()
		if tb.Failed() && s.Log() != "" {
			tb.Logf("log of the server of %s:\n%s", store, s.Log())
		}
	})
	return s
}

// Start starts the server again after Kill or Stop, at the same address.
func (s *Server) Start() error {
	s.cmd = s.user.Coffer(append([]string{"serve", s.Store, "--listen", s.Address}, s.flags...)...)
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan string, 1)
	done := make(chan struct{})
	s.done = done
	cmd := s.cmd
	go func() {
		defer close(done)
		lines := bufio.NewReader(stdout)
		line, _ := lines.ReadString('\n')
		ready <- line
		io.Copy(s.log, lines)
		cmd.Wait()
	}()
	line := <-ready
	_, rest, ok := strings.Cut(line, " is served at ")
	if !ok {
		s.Kill()
		return fmt.Errorf("serve %s: %q\n%s", s.Store, line, s.Log())
	}
	s.Address, _, _ = strings.Cut(rest, ";")
	return nil
}

// Kill ends the server with SIGKILL and waits for its end.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// Freeze stops the server where it is, and returns when it does nothing more, nor the kernel for it. Kill ends it.
func (s *Server) Freeze() error {
	if err := s.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		return fmt.Errorf("freeze the server: %w", err)
	}
	for {
		// The process has stopped when its last thread has.
		err := unix.Waitid(unix.P_PID, s.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("wait for the server to stop: %w", err)
		}
	}
}

// Stop ends the server in order and waits for its end.
func (s *Server) Stop() {
	s.cmd.Process.Signal(unix.SIGTERM)
	<-s.done
}

// Log is what the server printed so far.
func (s *Server) Log() string { return s.log.String() }

// Invite makes an invitation for a client that finds the server at address.
func (s *Server) Invite(tb testing.TB, name, address string, flags ...string) string {
	tb.Helper()
	args := append([]string{"invite", s.Store, name, "--address", address}, flags...)
	return strings.TrimSpace(s.user.Run(tb, args...))
}

// Scrub scrubs the store.
func (s *Server) Scrub(tb testing.TB) (code int, stdout, stderr string) {
	tb.Helper()
	return s.user.Try(tb, "scrub", s.Store)
}

// Approve lets go what a client has pruned that may only append.
func (s *Server) Approve(tb testing.TB, name string) string {
	tb.Helper()
	return s.user.Run(tb, "approve", s.Store, name)
}
