package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"coffer/test/compare"
	"coffer/test/rig"
)

// fault is something that happens to a client, a server or what is between them.
type fault struct {
	name string
	disk bool     // the server's store is on a disk of its own
	flag []string // of the server
	// strike happens while the program runs. The program goes on, or the client's process has ended with it.
	strike func(*networked, *rig.Mount) error
}

var faults = []fault{
	{name: "reset one", strike: func(n *networked, _ *rig.Mount) error {
		n.relay.Reset(1)
		return nil
	}},
	{name: "reset all", strike: func(n *networked, _ *rig.Mount) error {
		n.relay.Reset(1 << 20)
		return nil
	}},
	{name: "black hole", strike: func(n *networked, _ *rig.Mount) error {
		n.relay.Hole(true)
		<-time.After(time.Second + time.Duration(n.rng.IntN(n.hole))*time.Millisecond)
		n.relay.Hole(false)
		return nil
	}},
	{name: "server killed", strike: func(n *networked, _ *rig.Mount) error {
		n.server.Kill()
		return n.server.Start()
	}},
	{name: "server stopped", strike: func(n *networked, _ *rig.Mount) error {
		n.server.Stop()
		return n.server.Start()
	}},
	{name: "client killed", strike: func(_ *networked, m *rig.Mount) error {
		m.Signal()
		return nil
	}},
	{name: "both killed", strike: func(n *networked, m *rig.Mount) error {
		m.Signal()
		n.server.Kill()
		return n.server.Start()
	}},
	{name: "medium fails", flag: []string{"--fault", "fail-sync"}, strike: func(n *networked, _ *rig.Mount) error {
		return nil // it does so all the time
	}},
	{name: "power cut", disk: true, strike: func(n *networked, _ *rig.Mount) error { return n.powerCut() }},
}

// TestNetwork has a client and its server meet faults under load, checks that the client goes on, then kills it
// and checks the tree. COFFER_NET_FAULTS says how often, COFFER_NET_HOLE how many milliseconds a black hole lasts at most.
func TestNetwork(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			n := newNetworked(t, f)
			for i := range rig.Count(t, "COFFER_NET_FAULTS", 2) {
				if err := n.run(t); err != nil {
					t.Fatalf("fault %d: %v", i+1, err)
				}
			}
		})
	}
}

// TestNetworkNoSync is a negative control: a server that acknowledges without a sync has to be found out.
func TestNetworkNoSync(t *testing.T) {
	n := newNetworked(t, faults[len(faults)-1], "--fault", "no-sync")
	const most = 20
	for i := range most {
		if err := n.run(t); err != nil {
			t.Logf("found out at run %d: %.300v", i+1, err)
			return
		}
	}
	t.Errorf("%d power cuts of a server that does not sync, and none was found out: the suite is blind to it", most)
}

// networked is a series whose store is on a server.
type networked struct {
	*series
	fault  fault
	server *rig.Server
	relay  *rig.Relay
	hole   int // milliseconds
	// spoolDisk is what the client's spool is on, where that has a disk of its own.
	spoolDisk *rig.Disk
	now       *run // that is under way
}

func newNetworked(t *testing.T, f fault, flags ...string) *networked {
	t.Helper()
	dir := t.TempDir()
	n := &networked{fault: f, hole: max(rig.Count(t, "COFFER_NET_HOLE", 1000), 1)}
	n.series = newUninitialised(t, dir)
	if f.disk {
		n.disk = rig.NewDisk(t, 2048)
		n.store = filepath.Join(n.disk.Dir, "store")
	}
	host := rig.NewUser(t, filepath.Join(dir, "host"))
	host.Env = append(host.Env, "COFFER_TEST_FAULTS=1")
	n.server = host.Serve(t, n.store, append(flags, f.flag...)...)
	n.relay = rig.NewRelay(t, n.server.Address)
	m := n.user.Mount(t, n.server.Invite(t, "client", n.relay.Address), n.mnt)
	m.Unmount(t)
	n.store = "coffer://" + n.relay.Address
	return n
}

// powerCut takes the power from the server and its disk at one instant, and brings both back.
func (n *networked) powerCut() error {
	if err := n.server.Freeze(); err != nil {
		return err
	}
	if err := n.disk.Cut(); err != nil {
		return err
	}
	n.server.Kill()
	if err := n.disk.Unmount(); err != nil {
		return err
	}
	if err := n.disk.Mount(); err != nil {
		return err
	}
	return n.server.Start()
}

// run is one life of the mount: a program that meets the fault at a random instant and goes on, then
// the death of the client, a new mount, and the check of the tree.
func (n *networked) run(t *testing.T) error {
	t.Helper()
	m, err := n.user.TryMount(t, n.store, n.mnt, n.flags...)
	if err != nil {
		return err
	}
	r := newRun(rand.New(rand.NewPCG(n.rng.Uint64(), 0)), n.state, n.names, n.mnt, n.sync)
	n.now = r
	before, after := n.instant(), n.instant()
	failed := make(chan error, 1)
	go func() { failed <- r.issue(1 << 20) }()
	select {
	case err := <-failed:
		return fmt.Errorf("before the fault: %w\n%s", err, m.Log())
	case <-time.After(before):
	}
	struck, resent := len(r.ops), int64(0)
	if err := n.fault.strike(n, m); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		select {
		case <-m.Done():
			failed <- err // the fault was its death
		default:
			if !died(err) {
				return fmt.Errorf("after the fault: %w\n%s", err, m.Log())
			}
			<-time.After(time.Second)
			select {
			case <-m.Done():
				failed <- err
			default:
				return fmt.Errorf("after the fault, with the mount alive: %w\n%s", err, m.Log())
			}
		}
	case <-time.After(after):
		if m.Dying() {
			break // however long it takes
		}
		resent, err = n.resent(t)
		if err != nil {
			return err
		}
		m.Signal()
	}
	if err := <-failed; err != nil && !died(err) {
		return fmt.Errorf("not the error of a mount that died: %w", err)
	}
	m.Kill()
	r.end()
	n.names = r.program.name
	if n.spoolDisk != nil {
		rig.Must(t, n.spoolDisk.Unmount(), n.spoolDisk.Mount())
	}

	m, err = n.user.TryMount(t, n.store, n.mnt, n.flags...)
	if err != nil {
		return fmt.Errorf("mount after the fault: %w", err)
	}
	defer m.Kill()
	tree, err := compare.Read(n.mnt, nil)
	if err != nil {
		return fmt.Errorf("read the tree after the fault: %w\n%s", err, m.Log())
	}
	h := r.history(n.state)
	n.state, err = h.recovered(tree)
	if err == nil {
		// What a crash tears is no damage, wherever it was torn.
		code, stdout, stderr := n.user.Try(t, "scrub", n.server.Store)
		if code != 0 {
			return fmt.Errorf("scrub: exit code %d\n%s%s", code, stdout, stderr)
		}
	}
	if err != nil {
		return fmt.Errorf("%w\nafter %v and %v, %d operations, the last: %s", err, before, after, len(r.ops), tail(r.ops, 12))
	}
	t.Logf("%v, %v: %d operations, %d of them before the fault, %d durable; %d bytes sent again", before.Round(time.Millisecond),
		after.Round(time.Millisecond), len(r.ops), struck, h.durable, resent)
	return nil
}

// resent is how many bytes the client's mount, which is alive, has sent more than once so far: no more than were under
// way, for each time that the server was lost and for the one time that connections broke beside that.
func (n *networked) resent(t *testing.T) (int64, error) {
	t.Helper()
	var mounts []struct {
		Server struct {
			Attaches int64 `json:"attaches"`
			Most     int64 `json:"bytes_under_way_most"`
			Resent   int64 `json:"bytes_resent"`
		}
	}
	if err := json.Unmarshal([]byte(n.user.Run(t, "status", "--json")), &mounts); err != nil {
		return 0, err
	}
	if len(mounts) != 1 {
		return 0, fmt.Errorf("%d mounts have a status", len(mounts))
	}
	s := mounts[0].Server
	if s.Resent > s.Most*(s.Attaches+1) {
		return 0, fmt.Errorf("%d bytes were sent again, there were never more than %d under way, and the server came %d times",
			s.Resent, s.Most, s.Attaches)
	}
	return s.Resent, nil
}
