package fsx

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/rig"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022)
	os.Exit(rig.Main(m))
}

// far is beyond what 32 bits of blocks and most file systems' habits reach.
const far = 5 << 40

// unshifted are operations that only some file systems have.
var unshifted = []string{"collapse", "insert"}

func TestMount(t *testing.T) {
	run(t, rig.Count(t, "COFFER_FSX_OPS", 3000), Config{Host: rig.NewVolume(t), Lacks: unshifted})
}

// TestWriteback is the same where the kernel gathers writes.
func TestWriteback(t *testing.T) {
	run(t, rig.Count(t, "COFFER_FSX_OPS", 3000), Config{Host: rig.NewVolume(t, "--writeback"), Lacks: unshifted})
}

// TestMountFar is the same beyond 4 TiB.
func TestMountFar(t *testing.T) {
	run(t, rig.Count(t, "COFFER_FSX_OPS", 10000)/10, Config{Host: rig.NewVolume(t), Lacks: unshifted, Base: far})
}

// TestExt4 and those below show that the model is right: what fails on them is a mistake in this package.
// A mapped write gives room to all of a large folio there.
func TestExt4(t *testing.T) {
	run(t, rig.Count(t, "COFFER_FSX_OPS", 20000)/10, Config{Host: rig.NewExt4(t), Lazy: true})
}

func TestExt4Far(t *testing.T) {
	run(t, rig.Count(t, "COFFER_FSX_OPS", 10000)/10, Config{Host: rig.NewExt4(t), Base: far, Lacks: []string{"mapwrite"}})
}

func TestTmpfs(t *testing.T) {
	dir := t.TempDir()
	rig.Output(t, "mount", "-t", "tmpfs", "tmpfs", dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	lacks := append([]string{"zero", "zero-keep"}, unshifted...)
	run(t, rig.Count(t, "COFFER_FSX_OPS", 20000)/10, Config{Host: rig.Plain(dir), Lacks: lacks, Lazy: true})
}

func run(t *testing.T, ops int, c Config) {
	t.Helper()
	c.Seed = uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d COFFER_FSX_OPS=%d", c.Seed, ops)
	if err := New(t, c).Run(ops); err != nil {
		t.Fatal(err)
	}
}
