package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"coffer/test/rig"
)

// TestStatusByCurl: the socket of a process tells curl what coffer status --json tells of that process; of a mount, and of
// a server.
func TestStatusByCurl(t *testing.T) {
	two := newTwoMachines(t)
	m := two.laptop.Mount(t, two.server.Invite(t, "laptop", two.server.Address), two.mnt)
	m.Sync(t)
	for _, home := range []string{"laptop", "host"} {
		u := rig.NewUser(t, filepath.Join(two.dir, home))
		var all []map[string]any
		rig.Must(t, json.Unmarshal([]byte(u.Run(t, "status", "--json")), &all))
		if len(all) != 1 {
			t.Fatalf("the %s has %d processes", home, len(all))
		}
		socket := filepath.Join(u.Home, "run", "coffer", fmt.Sprint(all[0]["pid"], ".sock"))
		var one map[string]any
		said := rig.Output(t, "curl", "--silent", "--show-error", "--fail", "--unix-socket", socket, "http://coffer/v1/status")
		rig.Must(t, json.Unmarshal([]byte(said), &one))
		if diff := cmp.Diff(all[0], one, cmpopts.IgnoreMapEntries(counts)); diff != "" {
			t.Errorf("of the %s, curl is told something else (-status +curl):\n%s", home, diff)
		}
		if len(one) < 4 {
			t.Errorf("of the %s, curl is told %s", home, said)
		}
	}
	m.Unmount(t)
}

// counts says which numbers of a status change while nothing is done: room on a disk that others use, and clocks.
func counts(key string, _ any) bool {
	return key == "free" || key == "Free" || key == "silent_seconds" || key == "DirtyFor"
}
