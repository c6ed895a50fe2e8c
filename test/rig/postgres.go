package rig

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const pgBin = "/usr/lib/postgresql/15/bin"

// Cluster is a PostgreSQL server of the user postgres, without a network. Its data may be anywhere.
type Cluster struct {
	Base     string // a directory of the user's, with the socket
	Uid, Gid int    // the user's
	port     string
	log      log
	server   *exec.Cmd
}

// NewCluster makes a place for a server. Clusters that run at the same time need ports of their own.
func NewCluster(tb testing.TB, port int) *Cluster {
	tb.Helper()
	pg, err := user.Lookup("postgres")
	Must(tb, err)
	c := &Cluster{Base: PublicDir(tb), port: strconv.Itoa(port)}
	c.Uid, err = strconv.Atoi(pg.Uid)
	Must(tb, err)
	c.Gid, err = strconv.Atoi(pg.Gid)
	Must(tb, err)
	c.Own(tb, c.Base)
	tb.Cleanup(func() {
		c.Abort()
		if tb.Failed() {
			tb.Logf("log of the server:\n%s", c.log.String())
		}
	})
	return c
}

// Own gives a file to the user.
func (c *Cluster) Own(tb testing.TB, path string) {
	tb.Helper()
	Must(tb, os.Chown(path, c.Uid, c.Gid))
}

// Command is one of PostgreSQL's programs as the user, not yet started. Clients find the server.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(pgBin, name), args...)
	cmd.Dir = c.Base
	cmd.Env = append(os.Environ(), "PGHOST="+c.Base, "PGPORT="+c.port, "PGUSER=postgres", "PGDATABASE=postgres")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(c.Uid), Gid: uint32(c.Gid)}}
	return cmd
}

// Run runs one of PostgreSQL's programs, which must succeed, and returns what it printed.
func (c *Cluster) Run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := c.Command(name, args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Query gives the one row of an SQL query, its columns separated by bars.
func (c *Cluster) Query(tb testing.TB, sql string) string {
	tb.Helper()
	return strings.TrimSpace(c.Run(tb, "psql", "-X", "-A", "-t", "-c", sql))
}

// Init makes a cluster with checksums of its pages in the directory data.
func (c *Cluster) Init(tb testing.TB, data string) {
	tb.Helper()
	c.Run(tb, "initdb", "-D", data, "-k", "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "-N")
}

// Start starts the server on data and returns when it takes connections, after a recovery if need be.
func (c *Cluster) Start(tb testing.TB, data string) {
	tb.Helper()
	c.server = c.Command("postgres", "-D", data, "-k", c.Base, "-p", c.port, "-h", "")
	stderr, err := c.server.StderrPipe()
	Must(tb, err, c.server.Start())
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewReader(io.TeeReader(stderr, &c.log))
		for {
			line, err := lines.ReadString('\n')
			if strings.Contains(line, "ready to accept connections") || err != nil {
				ready <- err == nil
				break
			}
		}
		io.Copy(io.Discard, lines)
	}()
	if !<-ready {
		tb.Fatalf("the server does not start on %s:\n%s", data, c.log.String())
	}
}

// Stop ends the server in order.
func (c *Cluster) Stop(tb testing.TB) {
	tb.Helper()
	Must(tb, c.end(syscall.SIGINT))
}

// Abort ends the server as a crash would, if it runs. It has no time to write anything.
func (c *Cluster) Abort() {
	if c.server != nil {
		c.end(syscall.SIGQUIT) // that it failed is what was to be
	}
}

func (c *Cluster) end(by syscall.Signal) error {
	c.server.Process.Signal(by)
	hangs := time.AfterFunc(2*time.Minute, func() { c.server.Process.Kill() })
	err := c.server.Wait()
	c.server = nil
	if !hangs.Stop() {
		return fmt.Errorf("the server did not end upon %v", by)
	}
	return err
}
