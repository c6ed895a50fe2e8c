package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"coffer/test/rig"
)

const pgBin = "/usr/lib/postgresql/15/bin"

// cluster is a PostgreSQL server of the user postgres.
type cluster struct {
	as   *syscall.Credential
	base string // the socket and the log are here
	port string
}

// TestPostgres backs a running cluster up straight into the mount, wants it back unchanged after
// unmount and mount and after the index was lost, and starts what was restored.
func TestPostgres(t *testing.T) {
	pg, err := user.Lookup("postgres")
	rig.Must(t, err)
	uid, err := strconv.Atoi(pg.Uid)
	rig.Must(t, err)
	gid, err := strconv.Atoi(pg.Gid)
	rig.Must(t, err)
	base := rig.PublicDir(t)
	rig.Must(t, os.Chown(base, uid, gid))
	c := cluster{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, base, "54329"}

	data := filepath.Join(base, "data")
	c.run(t, "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "-N")
	c.start(t, data)
	c.run(t, "pgbench", "-h", base, "-p", c.port, "-U", "postgres", "-i", "-q", "-s", "2", "postgres")

	p := newPlace(t)
	m := p.mount(t, "--allow-other")
	m.Watch(t, 10*time.Minute)
	rig.Must(t, os.Mkdir(m.Path("pg"), 0o700), os.Chown(m.Path("pg"), uid, gid))
	c.run(t, "pg_basebackup", "-h", base, "-p", c.port, "-U", "postgres", "-D", m.Path("pg"), "-X", "stream", "-c", "fast")
	sum := c.query(t)
	c.stop(t, data)

	want := rig.ReadTree(t, m.Path("pg"))
	m.Unmount(t)
	m = p.mount(t, "--allow-other")
	rig.Same(t, "mounted again", want, rig.ReadTree(t, m.Path("pg")))
	m.Unmount(t)
	p.DropIndex(t)
	p.Run(t, "rebuild", p.store)
	m = p.mount(t, "--allow-other")
	rig.Same(t, "index rebuilt", want, rig.ReadTree(t, m.Path("pg")))

	restored := filepath.Join(base, "restored")
	rig.CopyTree(t, m.Path("pg"), restored)
	c.run(t, "pg_verifybackup", restored)
	c.start(t, restored)
	if got := c.query(t); got != sum {
		t.Errorf("the restored cluster answers %s, the source %s", got, sum)
	}
	c.stop(t, restored)

	// The mount is a file system for a database too, not only for its copy.
	c.start(t, m.Path("pg"))
	c.run(t, "pgbench", "-h", base, "-p", c.port, "-U", "postgres", "-n", "-t", "50", "-c", "2", "postgres")
	c.stop(t, m.Path("pg"))
	m.Unmount(t)
}

func (c cluster) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(pgBin, name), args...)
	cmd.Dir = c.base
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(c.base, "log"))
		t.Fatalf("%s %q: %v\n%s\n%s", name, args, err, out, log)
	}
	return string(out)
}

func (c cluster) start(t *testing.T, data string) {
	t.Helper()
	log := filepath.Join(c.base, "log")
	c.run(t, "pg_ctl", "-D", data, "-w", "-l", log, "-o", fmt.Sprintf("-k %s -p %s -h ''", c.base, c.port), "start")
	t.Cleanup(func() {
		stop := exec.Command(filepath.Join(pgBin, "pg_ctl"), "-D", data, "-m", "immediate", "stop")
		stop.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
		stop.Run() // it has been stopped if the test went well
	})
}

func (c cluster) stop(t *testing.T, data string) {
	t.Helper()
	c.run(t, "pg_ctl", "-D", data, "-w", "-m", "fast", "stop")
}

func (c cluster) query(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(c.run(t, "psql", "-h", c.base, "-p", c.port, "-U", "postgres", "-A", "-t",
		"-c", "select count(*), sum(hashtext(a::text)) from pgbench_accounts a", "postgres"))
}
