// Package rig is what the tests on real mounts stand on: the coffer binary built once, users with
// folders of their own, stores, mounts that are taken down whatever happens, and disks that can be
// filled or cut off. It knows the command line and nothing of what is behind it.
//
// Start at Main, which a package's TestMain calls, then User and Mount; disk.go has the loop devices.
package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

var binary string

// Main builds the binary and runs the tests of a package. COFFER_BINARY names one that is built already;
// COFFER_RACE=1 builds it with the race detector.
func Main(m *testing.M) int {
	if binary = os.Getenv("COFFER_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "coffer-binary-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Other users run it too.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "coffer")
	args := []string{"build", "-o", binary}
	if os.Getenv("COFFER_RACE") == "1" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "coffer/cmd/coffer")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build coffer:", err)
		return 1
	}
	return m.Run()
}

// Count reads how often something is done from the environment, so that a soak is the same test, longer.
func Count(tb testing.TB, env string, usual int) int {
	tb.Helper()
	value := os.Getenv(env)
	if value == "" {
		return usual
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		tb.Fatalf("%s=%s is not a number", env, value)
	}
	return n
}

// Output runs a command to its end and returns what it printed; a failure ends the test.
func Output(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Must ends the test at the first error.
func Must(tb testing.TB, errs ...error) {
	tb.Helper()
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
}
