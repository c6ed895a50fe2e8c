package dir_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"coffer/media/dir"
)

var update = flag.Bool("update", false, "write testdata/syscalls.golden")

// scriptEnv holds the store of a process that is to run the script and no test.
const scriptEnv = "COFFER_DIR_SCRIPT"

func TestMain(m *testing.M) {
	if store := os.Getenv(scriptEnv); store != "" {
		if err := script(context.Background(), store); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// script does what is traced. Opening a file that does not exist marks a step
// in the trace.
func script(ctx context.Context, store string) error {
	step := func(what string) {
		_, _ = os.Open("/step: " + what)
	}
	step("open and create the store")
	m, err := dir.Open(store, dir.Options{Create: true})
	if err != nil {
		return err
	}
	step("create a chunk")
	a, err := m.Create(ctx, "volumes/aa/1.chunk")
	if err != nil {
		return err
	}
	step("append three parts")
	_, err1 := a.Append(ctx, make([]byte, 96), make([]byte, 4), make([]byte, 1000))
	step("first sync: data, then each new name up to the store")
	err2 := a.Sync(ctx)
	step("append 9 MiB: write-behind")
	_, err3 := a.Append(ctx, make([]byte, 9<<20))
	step("second sync: data alone")
	err4 := a.Sync(ctx)
	step("seal: append the footer, sync")
	_, err5 := a.Append(ctx, make([]byte, 192))
	err6 := a.Sync(ctx)
	step("put a small object")
	err7 := m.Put(ctx, "keys/master.age", make([]byte, 300))
	step("put it again")
	err8 := m.Put(ctx, "keys/master.age", make([]byte, 300))
	step("replace a chunk")
	err11 := m.Replace(ctx, "volumes/aa/1.chunk", bytes.NewReader(make([]byte, 3<<20+5)))
	step("sync by name")
	err9 := m.Sync(ctx, "volumes/aa/1.chunk")
	step("remove")
	err10 := m.Remove(ctx, "volumes/aa/1.chunk")
	step("end")
	return errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9, err10, err11, a.Close(), m.Close())
}

// TestSystemCalls compares the order in which things are made stable with the
// one that was reviewed. A sync that is gone shows here, before any power cut.
func TestSystemCalls(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	trace := filepath.Join(t.TempDir(), "trace")
	const calls = "openat,mkdir,mkdirat,pwrite64,pwritev,pwritev2,fdatasync,fsync,syncfs,renameat2,renameat,rename,linkat,unlinkat,ftruncate,sync_file_range"
	cmd := exec.Command("strace", "-f", "-y", "-s", "0", "-e", "trace="+calls, "-e", "signal=none", "-o", trace, os.Args[0])
	cmd.Env = append(os.Environ(), scriptEnv+"="+store)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	got := summary(string(raw), store)
	golden := filepath.Join("testdata", "syscalls.golden")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the system calls are\n%s\nwant\n%s", got, want)
	}
}

var (
	traceLine  = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (.*)$`)
	traceFD    = regexp.MustCompile(`\d+<([^>]*)>|<[^>]*>`)
	traceBytes = regexp.MustCompile(`""(\.\.\.)?`)
	traceVec   = regexp.MustCompile(`\{iov_base=[^,]*, iov_len=(\d+)\}`)
)

// summary keeps of a trace the steps and the calls that change or sync
// something in the store or its parent, with its paths shown from there.
func summary(raw, store string) []byte {
	var b bytes.Buffer
	parent := filepath.Dir(store)
	for line := range strings.Lines(raw) {
		if _, step, ok := strings.Cut(line, "/step: "); ok {
			step, _, _ = strings.Cut(step, `"`)
			b.WriteString("# " + step + "\n")
			continue
		}
		m := traceLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || !strings.Contains(line, parent) {
			continue
		}
		name, args, result := m[1], m[2], m[3]
		if name == "openat" && !strings.Contains(args, "O_CREAT") {
			continue // opened to be synced, as the next line shows
		}
		args = traceFD.ReplaceAllString(args, "$1")
		args = traceVec.ReplaceAllString(args, "$1")
		args = traceBytes.ReplaceAllString(args, "data")
		args = strings.ReplaceAll(args, store, "STORE")
		args = strings.ReplaceAll(args, parent, "PARENT")
		b.WriteString("  " + name + " " + args)
		if _, cause, failed := strings.Cut(result, "-1 "); failed {
			cause, _, _ = strings.Cut(cause, " ")
			b.WriteString(": " + cause)
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}
