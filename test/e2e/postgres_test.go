package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"coffer/test/rig"
)

// TestPostgres backs a running cluster up straight into the mount, wants it back unchanged after
// unmount and mount and after the index was lost, and starts what was restored.
func TestPostgres(t *testing.T) {
	const content = "select count(*), sum(hashtext(a::text)) from pgbench_accounts a"
	c := rig.NewCluster(t, 54329)
	data := filepath.Join(c.Base, "data")
	c.Init(t, data)
	c.Start(t, data)
	c.Run(t, "pgbench", "-i", "-q", "-s", "2")

	p := newPlace(t)
	m := p.mount(t, "--allow-other")
	m.Watch(t, 10*time.Minute)
	rig.Must(t, os.Mkdir(m.Path("pg"), 0o700))
	c.Own(t, m.Path("pg"))
	c.Run(t, "pg_basebackup", "-D", m.Path("pg"), "-X", "stream", "-c", "fast")
	sum := c.Query(t, content)
	c.Stop(t)

	want := rig.ReadTree(t, m.Path("pg"))
	m.Unmount(t)
	m = p.mount(t, "--allow-other")
	rig.Same(t, "mounted again", want, rig.ReadTree(t, m.Path("pg")))
	m.Unmount(t)
	p.DropIndex(t)
	p.Run(t, "rebuild", p.store)
	m = p.mount(t, "--allow-other")
	rig.Same(t, "index rebuilt", want, rig.ReadTree(t, m.Path("pg")))

	restored := filepath.Join(c.Base, "restored")
	rig.CopyTree(t, m.Path("pg"), restored)
	c.Run(t, "pg_verifybackup", restored)
	c.Start(t, restored)
	if got := c.Query(t, content); got != sum {
		t.Errorf("the restored cluster answers %s, the source %s", got, sum)
	}
	c.Stop(t)

	// The mount is a file system for a database too, not only for its copy.
	c.Start(t, m.Path("pg"))
	c.Run(t, "pgbench", "-n", "-t", "50", "-c", "2")
	c.Stop(t)
	m.Unmount(t)
}
