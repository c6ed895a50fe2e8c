package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// subject is a way to store a tree. Prepare is not timed; write is, and has to leave the tree as
// target/copy, stable. Remount, nil where there is no mount to read from, starts the reading side anew. Restore, nil
// where there is none, is timed too: the command that brings all that was stored back into p.restored(), where it is run.
type subject struct {
	name    string
	prepare func(*place) error
	write   func(p *place, w *work) error
	remount func(*place) error
	restore func(p *place) *exec.Cmd
	mounts  bool
}

var subjects = []subject{
	{
		name:    "plain cp",
		prepare: func(p *place) error { return os.Mkdir(p.store(), 0o755) },
		write:   func(p *place, w *work) error { return w.store(p.store() + "/copy") },
		remount: func(*place) error { return nil },
	},
	loopbackSubject("loopback"),
	loopbackSubject("passthrough", "-passthrough"),
	{
		name:    "coffer",
		mounts:  true,
		prepare: func(p *place) error { return first(p.run(p.coffer, "init", p.store()), p.mountCoffer) },
		write: func(p *place, w *work) error {
			if err := w.store(p.mnt() + "/copy"); err != nil {
				return err
			}
			return p.run(p.coffer, "sync", p.mnt())
		},
		remount: func(p *place) error { return first(p.end(), p.mountCoffer) },
	},
	{
		name:    "coffer put",
		prepare: func(p *place) error { return p.run(p.coffer, "init", p.store()) },
		write: func(p *place, w *work) error {
			args := append([]string{"put"}, p.flags...)
			return p.run(p.coffer, append(args, w.dir, p.store())...)
		},
		restore: func(p *place) *exec.Cmd { return p.command(p.coffer, "restore", p.store(), "--to", ".") },
	},
	{
		name:    "restic",
		prepare: func(p *place) error { return p.run("restic", "-q", "init") },
		write:   func(p *place, w *work) error { return p.run("restic", "-q", "backup", w.dir) },
		restore: func(p *place) *exec.Cmd { return p.command("restic", "-q", "restore", "latest", "--target", ".") },
	},
	{
		name:    "borg",
		prepare: func(p *place) error { return p.run("borg", "init", "-e", "repokey-blake2", p.store()) },
		write:   func(p *place, w *work) error { return p.run("borg", "create", p.archive(1), w.dir) },
		restore: func(p *place) *exec.Cmd { return p.command("borg", "extract", p.archive(0)) },
	},
}

// subjectNamed is one of them.
func subjectNamed(name string) subject {
	return subjects[slices.IndexFunc(subjects, func(s subject) bool { return s.name == name })]
}

// place is where one subject works.
type place struct {
	options
	dir     string
	host    string // network namespace in which its programs run; "": this one
	server  *exec.Cmd
	served  string // its program
	sampler sync.WaitGroup
	stop    chan struct{}
	peak    atomic.Int64
	runs    bool // programs that are run are watched too
	last    int  // archive of borg's
}

func (p *place) store() string    { return filepath.Join(p.dir, "store") }
func (p *place) mnt() string      { return filepath.Join(p.dir, "mnt") }
func (p *place) restored() string { return filepath.Join(p.dir, "restored") }

// archive is how borg is to call the next archive, or what it called the last.
func (p *place) archive(next int) string {
	p.last += next
	return p.store() + "::" + strconv.Itoa(p.last)
}

func (p *place) target(s subject) string {
	if s.mounts {
		return p.mnt()
	}
	return p.store()
}

func loopbackSubject(name string, flags ...string) subject {
	mount := func(p *place) error {
		return p.serve(os.Args[0], append(flags[:len(flags):len(flags)], "-loopback", p.store(), p.mnt())...)
	}
	return subject{
		name:    name,
		mounts:  true,
		prepare: func(p *place) error { return first(os.Mkdir(p.store(), 0o755), func() error { return mount(p) }) },
		write:   func(p *place, w *work) error { return w.store(p.mnt() + "/copy") },
		remount: func(p *place) error { return first(p.end(), func() error { return mount(p) }) },
	}
}

func (p *place) mountCoffer() error {
	args := append([]string{"mount", "--foreground"}, p.flags...)
	return p.serve(p.coffer, append(args, p.store(), p.mnt())...)
}

// serve starts a program that mounts and says so in its first line, and watches its memory.
func (p *place) serve(name string, args ...string) error {
	if err := os.MkdirAll(p.mnt(), 0o755); err != nil {
		return err
	}
	p.server, p.served = p.command(name, args...), name
	stdout, err := p.server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.server.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.Contains(line, "mounted") {
		p.server.Wait()
		p.server = nil
		return fmt.Errorf("%s did not mount: %q", name, line)
	}
	p.watch(p.server.Process.Pid)
	return nil
}

// watch begins to look at the memory of a process, until unwatch.
func (p *place) watch(pid int) {
	p.stop = make(chan struct{})
	p.sampler.Go(func() { p.sample(pid) })
}

func (p *place) unwatch() {
	close(p.stop)
	p.sampler.Wait()
}

// sample keeps the peak of what a process holds in memory, which the kernel doesn't.
func (p *place) sample(pid int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return
		}
		var sum int64
		for line := range strings.Lines(string(status)) {
			for _, key := range []string{"RssAnon:", "RssShmem:"} {
				var kib int64
				if rest, ok := strings.CutPrefix(line, key); ok {
					fmt.Sscan(rest, &kib)
					sum += kib << 10
				}
			}
		}
		p.peak.Store(max(p.peak.Load(), sum))
	}
}

// end unmounts, if something is mounted, and waits for its server.
func (p *place) end() error {
	if p.server == nil {
		return nil
	}
	p.unwatch()
	var err error
	if p.served == p.coffer {
		err = p.run(p.coffer, "umount", p.mnt())
	} else {
		err = unix.Unmount(p.mnt(), 0)
	}
	if err != nil {
		unix.Unmount(p.mnt(), unix.MNT_DETACH)
		p.server.Process.Kill()
	}
	waited := p.server.Wait()
	p.server = nil
	return first(err, func() error { return waited })
}

func (p *place) command(name string, args ...string) *exec.Cmd {
	cmd := inHost(p.host, name, args...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(),
		"XDG_CONFIG_HOME="+filepath.Join(p.dir, "config"),
		"XDG_STATE_HOME="+filepath.Join(p.dir, "state"),
		"XDG_RUNTIME_DIR="+filepath.Join(p.dir, "run"),
		"RESTIC_REPOSITORY="+p.store(), "RESTIC_PASSWORD=bench", "RESTIC_CACHE_DIR="+filepath.Join(p.dir, "cache"),
		"BORG_BASE_DIR="+filepath.Join(p.dir, "borg"), "BORG_PASSPHRASE=bench")
	return cmd
}

func (p *place) run(name string, args ...string) error {
	cmd := p.command(name, args...)
	var said bytes.Buffer
	cmd.Stderr = &said // borg has much to say where all is well
	err := cmd.Start()
	if err == nil {
		if p.runs {
			p.watch(cmd.Process.Pid)
			defer p.unwatch()
		}
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, said.String())
	}
	return nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}

// first is err, or what then returns if there was none.
func first(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}
