package rig

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// User is someone with configuration, state and runtime folders of their own, all under Home.
type User struct {
	Home string
	Env  []string            // added to the environment of each command
	As   *syscall.Credential // nil: whoever runs the test
	Host *NetHost            // nil: on this machine's own network
}

// NewUser makes a user whose folders are under home, which is made if it is missing.
func NewUser(tb testing.TB, home string) *User {
	tb.Helper()
	u := &User{Home: home}
	for _, dir := range []string{u.Config(), u.State(), u.runtime()} {
		Must(tb, os.MkdirAll(dir, 0o700))
	}
	return u
}

// Config is the user's configuration folder; the identity is in it.
func (u *User) Config() string { return filepath.Join(u.Home, "config") }

// State is the user's state folder; indexes and heads are in it.
func (u *User) State() string { return filepath.Join(u.Home, "state") }

func (u *User) runtime() string { return filepath.Join(u.Home, "run") }

// Identity is the file that init makes when there is none.
func (u *User) Identity() string { return filepath.Join(u.Config(), "coffer", "identity") }

// Coffer is a command of this user, not yet started.
func (u *User) Coffer(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(),
		"HOME="+u.Home,
		"XDG_CONFIG_HOME="+u.Config(),
		"XDG_STATE_HOME="+u.State(),
		"XDG_RUNTIME_DIR="+u.runtime())
	cmd.Env = append(cmd.Env, u.Env...)
	if u.Host != nil {
		u.Host.in(cmd)
	}
	if u.As != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.As}
		cmd.Dir = u.Home
	}
	return cmd
}

// Run runs a command that must succeed and returns its standard output.
func (u *User) Run(tb testing.TB, args ...string) string {
	tb.Helper()
	code, stdout, stderr := u.Try(tb, args...)
	if code != 0 {
		tb.Fatalf("coffer %q: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// Try runs a command that may fail.
func (u *User) Try(tb testing.TB, args ...string) (code int, stdout, stderr string) {
	tb.Helper()
	var out, errs bytes.Buffer
	cmd := u.Coffer(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatalf("coffer %q: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
