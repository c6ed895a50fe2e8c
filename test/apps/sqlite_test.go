package apps

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"coffer/test/rig"
)

// TestSQLite loads a database in the way of SQLite's speedtest, in each kind of journal, then has several processes
// move amounts between accounts until the mount is killed below them. COFFER_SQLITE_ROWS says how many rows.
func TestSQLite(t *testing.T) {
	rows := rig.Count(t, "COFFER_SQLITE_ROWS", 1000)
	seed := uint64(rig.Count(t, "COFFER_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("COFFER_SEED=%d", seed)
	inModes(t, func(t *testing.T, v *volume) {
		for _, journal := range []string{"wal", "delete"} {
			t.Run(journal, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				db := v.Path(journal + ".db")
				want := sqlite(t, db, load(journal, rows))
				transfers(t, v, db, rng)
				v.again()
				if got := sqlite(t, db, sums); got != want {
					t.Errorf("mounted again, the tables have %s, and had %s", got, want)
				}
				sound(t, db)
			})
		}
		v.Unmount(t)
	})
}

// sums is what the tables of load hold.
const sums = `select (select count(*)||' '||sum(b)||' '||total(length(c)) from t1), (select count(*)||' '||sum(b) from t2),
	(select count(*) from t3 join t1 on t3.b = t1.b);
`

// load is a script that makes the tables and works on them. It prints their sums.
func load(journal string, rows int) string {
	series := fmt.Sprintf("with recursive n(i) as (select 1 union all select i+1 from n where i < %d) ", rows)
	return `.bail on
.output /dev/null
pragma journal_mode=` + journal + `; pragma synchronous=full; pragma cache_size=200;
.output
create table accounts(id integer primary key, balance integer not null);
insert into accounts with recursive n(i) as (select 1 union all select i+1 from n where i < 50) select i, 1000 from n;
create table moves(id integer primary key, who integer, amount integer);
create table t1(a integer primary key, b integer, c text);
create table t2(a integer primary key, b integer, c text);
create table t3(a integer primary key, b integer, c text);
begin; insert into t1 ` + series + `select i, (i*7919)%100003, hex(zeroblob(10+i%300))||i from n; commit;
begin; create index t1b on t1(b); create index t1c on t1(c); commit;
begin; insert into t2 select a, b, c from t1 order by c desc; commit;
create unique index t2a on t2(a, b);
begin; update t1 set b = b+1 where a%3 = 0; update t1 set c = c||c where a%5 = 0; commit;
begin; delete from t2 where a%2 = 0; commit;
begin; insert into t3 select a, b, substr(c, 1, 20) from t1 where b in (select b from t2); commit;
savepoint s; delete from t1; rollback to s; release s;
begin; delete from t1 where a between ` + strconv.Itoa(rows/4) + ` and ` + strconv.Itoa(rows/2) + `; rollback;
alter table t3 add column d default 17;
drop index t1c;
analyze;
vacuum;
` + sums
}

// transfers moves amounts in three processes at a time, kills the mount below them, and wants to find what they
// were told is committed.
func transfers(t *testing.T, v *volume, db string, rng *rand.Rand) {
	t.Helper()
	const processes = 3
	var cmds [processes]*exec.Cmd
	var said [processes]bytes.Buffer
	for p := range cmds {
		var script strings.Builder
		// Extra: with full alone, the removal of a journal, which is the commit, is not synced.
		script.WriteString(".bail on\n.timeout 60000\npragma synchronous=extra;\n")
		for k := range 5000 {
			from, to, amount := 1+rng.IntN(50), 1+rng.IntN(50), 1+rng.IntN(100)
			fmt.Fprintf(&script, `begin immediate;
update accounts set balance = balance-%d where id = %d; update accounts set balance = balance+%[1]d where id = %[3]d;
insert into moves(who, amount) values (%d, %[1]d); commit;
select 'committed %d';
`, amount, from, to, p, k+1)
		}
		cmds[p] = exec.Command("sqlite3", db)
		cmds[p].Stdin = strings.NewReader(script.String())
		cmds[p].Stdout = &said[p]
		rig.Must(t, cmds[p].Start())
	}
	time.Sleep(time.Second + time.Duration(rng.IntN(int(time.Second)))) // so that it is killed anywhere
	v.Signal()
	for _, cmd := range cmds {
		cmd.Wait() // fails: its file is gone
	}
	v.Kill()
	v.mount()
	sound(t, db)
	if got := sqlite(t, db, "select sum(balance) from accounts;"); got != "50000" {
		t.Errorf("the balances add up to %s", got)
	}
	for p := range said {
		committed := strings.Count(said[p].String(), "committed")
		there, err := strconv.Atoi(sqlite(t, db, fmt.Sprintf("select count(*) from moves where who = %d;", p)))
		rig.Must(t, err)
		t.Logf("process %d: %d committed, %d there", p, committed, there)
		if there < committed || there > committed+1 {
			t.Errorf("process %d was told of %d transactions; %d are there", p, committed, there)
		}
	}
}

func sound(t *testing.T, db string) {
	t.Helper()
	if got := sqlite(t, db, "pragma integrity_check; pragma foreign_key_check;"); got != "ok" {
		t.Errorf("integrity check of %s: %s", db, got)
	}
}

// sqlite runs a script on a database and returns what it printed.
func sqlite(t *testing.T, db, script string) string {
	t.Helper()
	cmd := exec.Command("sqlite3", "-batch", db)
	cmd.Stdin = strings.NewReader(script)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Fatalf("sqlite3 %s: %v: %s", db, err, errs.Bytes())
	}
	return strings.TrimSpace(string(out))
}
