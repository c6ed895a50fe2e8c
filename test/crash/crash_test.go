package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"coffer/test/compare"
	"coffer/test/rig"
)

func TestMain(m *testing.M) {
	// The model says which modes files have.
	unix.Umask(0)
	os.Exit(rig.Main(m))
}

// TestKill kills the process of a mount at random instants, mounts again and checks the tree, and
// goes on from there, so that a store sees many sessions that did not end. COFFER_KILLS says how many.
func TestKill(t *testing.T) {
	series := newSeries(t, t.TempDir(), nil)
	for i := range rig.Count(t, "COFFER_KILLS", 12) {
		if err := series.kill(t); err != nil {
			t.Fatalf("kill %d: %v", i+1, err)
		}
	}
}

// TestPowerCut cuts the power of the disk that the store is on. In turn the writer's state folder is
// on that disk too, as on one machine, or elsewhere, where it remembers all that was acknowledged.
func TestPowerCut(t *testing.T) {
	cuts := rig.Count(t, "COFFER_POWER_CUTS", 5)
	for _, where := range []string{"together", "apart"} {
		t.Run(where, func(t *testing.T) {
			disk := rig.NewDisk(t, 2048)
			series := newSeries(t, t.TempDir(), disk)
			if where == "together" {
				series.moveStateTo(t, disk)
			}
			for i := range (cuts + 1) / 2 {
				if err := series.powerCut(t); err != nil {
					t.Fatalf("power cut %d: %v", i+1, err)
				}
			}
		})
	}
}

// TestBatchBeforeData is a negative control: metadata that is written before its data has to be
// found out by the kill suite.
func TestBatchBeforeData(t *testing.T) {
	control(t, "batch-first", 40, nil, (*series).kill)
}

// TestNoSync is a negative control: an acknowledgement without a sync has to be found out by the
// power-cut suite.
func TestNoSync(t *testing.T) {
	control(t, "no-sync", 20, rig.NewDisk(t, 2048), (*series).powerCut)
}

func control(t *testing.T, fault string, most int, disk *rig.Disk, crash func(*series, *testing.T) error) {
	s := newSeries(t, t.TempDir(), disk)
	s.flags = []string{"--fault", fault}
	s.user.Env = append(s.user.Env, "COFFER_TEST_FAULTS=1")
	for i := range most {
		if err := crash(s, t); err != nil {
			t.Logf("found out at run %d: %.300v", i+1, err)
			return
		}
	}
	t.Errorf("%d runs with the fault %s, and none was found out: the suite is blind to it", most, fault)
}

// series is a store that crashes again and again.
type series struct {
	seed  uint64
	rng   *rand.Rand
	user  *rig.User
	disk  *rig.Disk // nil: the store is on the machine's own
	store string
	mnt   string
	flags []string
	state *model
	names int
	runs  int
}

func newSeries(t *testing.T, dir string, disk *rig.Disk) *series {
	t.Helper()
	s := newUninitialised(t, dir)
	if s.disk = disk; disk != nil {
		s.store = filepath.Join(disk.Dir, "store")
	}
	s.user.Run(t, "init", s.store)
	if disk != nil {
		rig.Output(t, "sync", "-f", disk.Dir)
	}
	return s
}

// newUninitialised is a series whose store is not made yet.
func newUninitialised(t *testing.T, dir string) *series {
	t.Helper()
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	return &series{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 1)),
		user:  rig.NewUser(t, filepath.Join(dir, "home")),
		store: filepath.Join(dir, "store"), mnt: filepath.Join(dir, "mnt"),
		state: newModel(),
	}
}

func (s *series) moveStateTo(t *testing.T, disk *rig.Disk) {
	t.Helper()
	dir := filepath.Join(disk.Dir, "state")
	rig.Must(t, os.Mkdir(dir, 0o700))
	rig.Output(t, "sync", "-f", disk.Dir)
	s.user.Env = append(s.user.Env, "XDG_STATE_HOME="+dir)
}

// kill is one life of the mount: a random program, SIGKILL at a random instant, mount, check.
func (s *series) kill(t *testing.T) error {
	return s.crash(t, func(m *rig.Mount, _ *run) error {
		m.Signal()
		return nil
	})
}

func (s *series) powerCut(t *testing.T) error {
	return s.crash(t, func(_ *rig.Mount, r *run) error {
		r.cutting.Store(true)
		if err := s.disk.Cut(); err != nil {
			return err
		}
		// The process lives on for a moment and meets a disk that is gone.
		<-time.After(time.Duration(s.rng.IntN(150)) * time.Millisecond)
		r.stop.Store(true)
		return nil
	})
}

// crash mounts, checks nothing was changed, runs a program, lets cut end it at a random instant,
// mounts again and finds the prefix. An error is what the suite is there to find; anything that
// merely went wrong ends the test.
func (s *series) crash(t *testing.T, cut func(*rig.Mount, *run) error) error {
	t.Helper()
	s.runs++
	m, err := s.user.TryMount(t, s.store, s.mnt, s.flags...)
	if err != nil {
		return err
	}
	// The program runs beside what draws from the series' own source.
	r := newRun(rand.New(rand.NewPCG(s.rng.Uint64(), 0)), s.state, s.names, s.mnt, s.sync)
	after := s.instant()
	failed := make(chan error, 1)
	go func() { failed <- r.issue(1 << 20) }()
	select {
	case err := <-failed:
		return fmt.Errorf("before the crash: %w\n%s", err, m.Log())
	case <-time.After(after):
	}
	if err := cut(m, r); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil && !died(err) {
		return fmt.Errorf("not the error of a mount that died: %w", err)
	}
	m.Kill()
	r.end()
	s.names = r.program.name
	if s.disk != nil {
		rig.Must(t, s.disk.Unmount(), s.disk.Mount())
	}

	m, err = s.user.TryMount(t, s.store, s.mnt, s.flags...)
	if err != nil {
		return fmt.Errorf("mount after the crash: %w", err)
	}
	defer m.Kill()
	tree, err := compare.Read(s.mnt, nil)
	if err != nil {
		return fmt.Errorf("read the tree after the crash: %w\n%s", err, m.Log())
	}
	h := r.history(s.state)
	s.state, err = h.recovered(tree)
	if err != nil {
		return fmt.Errorf("%w\nafter %v, %d operations, the last: %s", err, after, len(r.ops), tail(r.ops, 12))
	}
	t.Logf("%v: %d operations, %d durable", after.Round(time.Millisecond), len(r.ops), h.durable)
	return nil
}

// instant is when to crash: mostly soon, seldom after the cut that a mount makes by itself.
func (s *series) instant() time.Duration {
	most := 1500
	if s.rng.IntN(10) == 0 {
		most = 8000
	}
	return time.Duration(1+s.rng.IntN(most*1000)) * time.Microsecond
}

func (s *series) sync() error {
	if out, err := s.user.Coffer("sync", s.mnt).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %v: %s", errSync, err, out)
	}
	return nil
}

func tail(ops []op, n int) string {
	var b strings.Builder
	for i := max(0, len(ops)-n); i < len(ops); i++ {
		fmt.Fprintf(&b, "\n  %d %s", i+1, ops[i])
	}
	return b.String()
}
