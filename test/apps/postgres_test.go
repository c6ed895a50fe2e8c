package apps

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"coffer/test/rig"
)

// TestPostgres has PostgreSQL on the mount while pgbench moves money, and kills the mount below it again and
// again. After each recovery every committed transaction must be there, and the balances must add up.
// COFFER_PG_KILLS says how often, COFFER_PG_SCALE how large the bank is.
func TestPostgres(t *testing.T) {
	kills, scale := rig.Count(t, "COFFER_PG_KILLS", 1), rig.Count(t, "COFFER_PG_SCALE", 1)
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	inModes(t, func(t *testing.T, v *volume) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := rig.NewCluster(t, 54330)
		data := v.Path("pg")
		rig.Must(t, os.Mkdir(data, 0o700))
		c.Own(t, data)
		c.Init(t, data)
		v.Sync(t) // initdb was told not to
		c.Start(t, data)
		c.Run(t, "pgbench", "-i", "-q", "-s", strconv.Itoa(scale))
		c.Query(t, "create extension amcheck")

		committed := 0
		for k := range kills {
			done := bank(t, c, v, 2+rng.IntN(3), time.Duration(rng.IntN(int(time.Second))))
			c.Abort()
			v.Kill()
			v.mount()
			c.Start(t, data)
			was := committed + done
			committed = books(t, c)
			if committed < was {
				t.Fatalf("after kill %d, %d transactions are there, and %d were committed", k+1, committed, was)
			}
		}
		c.Run(t, "pg_amcheck", "--heapallindexed", "-d", "postgres")
		c.Stop(t)
		c.Run(t, "pg_checksums", "--check", "-D", data)
		v.again()
		c.Start(t, data)
		if n := books(t, c); n != committed {
			t.Errorf("mounted again, %d transactions are there, and %d were", n, committed)
		}
		c.Stop(t)
		v.Unmount(t)
	})
}

// bank runs pgbench until it has told of its progress a few times and then some, kills the mount, and returns how
// many transactions were committed.
func bank(t *testing.T, c *rig.Cluster, v *volume, reports int, more time.Duration) (committed int) {
	t.Helper()
	cmd := c.Command("pgbench", "-n", "-c", "4", "-j", "2", "-T", "600", "-P", "1")
	cmd.Stdout = nil
	said, err := cmd.StderrPipe()
	rig.Must(t, err)
	out := &strings.Builder{}
	cmd.Stdout = out
	rig.Must(t, cmd.Start())
	lines := bufio.NewScanner(said)
	for seen := 0; seen < reports && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "progress:") {
			seen++
		}
	}
	time.Sleep(more) // so that it is killed anywhere
	v.Signal()
	var errs []string
	for lines.Scan() {
		errs = append(errs, lines.Text())
	}
	cmd.Wait() // fails: its server is gone
	for line := range strings.Lines(out.String()) {
		if n, ok := strings.CutPrefix(line, "number of transactions actually processed: "); ok {
			if _, err := fmt.Sscan(n, &committed); err == nil {
				return committed
			}
		}
	}
	t.Fatalf("pgbench does not say how much it did:\n%s\n%s", out, strings.Join(errs, "\n"))
	return 0
}

// books checks that the money is all there, and returns how many transactions have moved it.
func books(t *testing.T, c *rig.Cluster) (transactions int) {
	t.Helper()
	row := c.Query(t, `select (select count(*) from pgbench_history), (select coalesce(sum(delta), 0) from pgbench_history),
		(select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
		(select sum(bbalance) from pgbench_branches)`)
	cols := strings.Split(row, "|")
	if len(cols) != 5 || cols[1] != cols[2] || cols[2] != cols[3] || cols[3] != cols[4] {
		t.Fatalf("count, and sums of history, accounts, tellers and branches: %s", row)
	}
	n, err := strconv.Atoi(cols[0])
	rig.Must(t, err)
	return n
}
