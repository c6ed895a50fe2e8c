package crowd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

// workerEnv makes the test binary a process of a crowd; it holds its task.
const workerEnv = "COFFER_CROWD_WORKER"

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	if spec := os.Getenv(workerEnv); spec != "" {
		if err := Work(spec, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(rig.Main(m))
}

func TestMount(t *testing.T) { run(t, rig.NewVolume(t), 1) }

// TestWriteback is the same where the kernel gathers writes.
func TestWriteback(t *testing.T) { run(t, rig.NewVolume(t, "--writeback"), 1) }

// TestExt4 shows that the model is right: what fails on it is a mistake in this package.
func TestExt4(t *testing.T) { run(t, rig.NewExt4(t), 4) }

// run has a crowd do COFFER_CROWD_OPS operations each, fewer by share, in rounds, with the file system mounted again
// after each, in order and otherwise in turn.
func run(t *testing.T, host rig.Host, share int) {
	const crowd = 4
	ops := rig.Count(t, "COFFER_CROWD_OPS", 2000) / share
	rounds := 4 + ops/20000
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d COFFER_CROWD_OPS=%d", seed, ops)
	dir := host.Dir()
	prepare(t, dir, crowd)
	var workers [crowd]*process
	for k := range workers {
		workers[k] = start(t, task{Dir: dir, ID: k, Crowd: crowd, Seed: seed})
	}
	all := func(order string) {
		t.Helper()
		for _, p := range workers {
			fmt.Fprintln(p.orders, order)
		}
		for _, p := range workers {
			p.answer(t)
		}
	}
	for round := range rounds {
		all(fmt.Sprint("run ", ops/rounds))
		all("leave")
		checkShared(t, dir, workers[:])
		if round%2 == 0 {
			host.Remount(t)
		} else {
			settle(t, dir)
			host.Crash(t)
		}
		all("check")
		checkShared(t, dir, workers[:])
	}
	for _, p := range workers {
		p.end(t)
	}
}

// settle makes everything stable.
func settle(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	rig.Must(t, err)
	rig.Must(t, unix.Syncfs(int(d.Fd())), d.Sync(), d.Close())
}

// prepare makes the shared files.
func prepare(t *testing.T, dir string, crowd int) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, "shared", name) }
	prize := make([]byte, 16)
	binary.BigEndian.PutUint64(prize, 16)
	rig.Must(t,
		os.Mkdir(filepath.Join(dir, "shared"), 0o755),
		os.WriteFile(at("log"), nil, 0o644),
		os.WriteFile(at("grid"), nil, 0o644),
		os.Truncate(at("grid"), int64(crowd*slots*slotSize)),
		os.WriteFile(at("counter"), make([]byte, 8), 0o644),
		os.WriteFile(at("prize"), prize, 0o644))
}

// checkShared compares the shared files with what the workers say that they did.
func checkShared(t *testing.T, dir string, workers []*process) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, "shared", name) }
	if err := checkPrize(at("prize")); err != nil {
		t.Error(err)
	}
	names, added := map[string]int{"log": -1, "grid": -1, "counter": 8, "prize": -1}, 0
	grid, err := os.ReadFile(at("grid"))
	rig.Must(t, err)
	for id, p := range workers {
		added += p.tally.Added
		for slot, seed := range p.tally.Slots {
			off := slotAt(len(workers), id, slot)
			if err := equal(slotContent(seed), grid[off:off+slotSize]); err != nil {
				t.Errorf("slot %d of worker %d, at %d: %v", slot, id, off, err)
			}
		}
		for name, size := range p.tally.Names {
			names[name] = size
		}
	}
	counter, err := os.ReadFile(at("counter"))
	rig.Must(t, err)
	if n := binary.BigEndian.Uint64(counter); n != uint64(added) {
		t.Errorf("the counter is at %d, want %d", n, added)
	}
	list, err := os.ReadDir(filepath.Join(dir, "shared"))
	rig.Must(t, err)
	for _, e := range list {
		info, err := e.Info()
		rig.Must(t, err)
		if size, ok := names[e.Name()]; !ok || size >= 0 && info.Size() != int64(size) {
			t.Errorf("%s has %d bytes; it should have %d (and be there: %v)", e.Name(), info.Size(), size, ok)
		}
		delete(names, e.Name())
	}
	if len(names) > 0 {
		t.Errorf("missing: %v", names)
	}
	checkLog(t, at("log"), workers)
	if t.Failed() {
		t.FailNow()
	}
}

// checkLog wants each worker's records, whole and in their order.
func checkLog(t *testing.T, path string, workers []*process) {
	t.Helper()
	log, err := os.ReadFile(path)
	rig.Must(t, err)
	seen := make([]int, len(workers))
	for ; len(log) > 0; log = log[min(recordSize, len(log)):] {
		var id, n int
		if _, err := fmt.Sscanf(string(log[:min(20, len(log))]), "%d %d ", &id, &n); err != nil || id >= len(workers) ||
			n != seen[id] || !bytes.Equal(log[:min(recordSize, len(log))], record(id, n)) {
			t.Errorf("the log has %q after %v records", log[:min(recordSize, len(log))], seen)
			return
		}
		seen[id]++
	}
	for id, p := range workers {
		if seen[id] != p.tally.Appended {
			t.Errorf("worker %d has appended %d records, %d are there", id, p.tally.Appended, seen[id])
		}
	}
}

// process is a running worker.
type process struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	lines  *bufio.Reader
	errs   strings.Builder
	tally  tally
}

func start(t *testing.T, job task) *process {
	t.Helper()
	spec, err := json.Marshal(job)
	rig.Must(t, err)
	p := &process{cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), workerEnv+"="+string(spec))
	p.cmd.Stderr = &p.errs
	p.orders, err = p.cmd.StdinPipe()
	rig.Must(t, err)
	out, err := p.cmd.StdoutPipe()
	rig.Must(t, err, p.cmd.Start())
	p.lines = bufio.NewReader(out)
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	return p
}

func (p *process) answer(t *testing.T) {
	t.Helper()
	line, err := p.lines.ReadBytes('\n')
	if err != nil {
		p.cmd.Wait()
		t.Fatalf("a worker has ended:\n%s", p.errs.String())
	}
	p.tally = tally{}
	rig.Must(t, json.Unmarshal(line, &p.tally))
}

func (p *process) end(t *testing.T) {
	t.Helper()
	p.orders.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a worker ended with %v:\n%s", err, p.errs.String())
	}
}
